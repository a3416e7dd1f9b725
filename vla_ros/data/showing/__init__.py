"""Recorded episodes to look at: plots, and a video with the actions drawn in."""
