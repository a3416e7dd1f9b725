"""Serves a bundle's graphs to many robots.

    robots ── websockets ──► Gateway ── batches ──► Replica, Replica, ...

A robot's `remote` engine asks the gateway for one inference; the gateway puts the questions of
several robots into one batch, and a replica answers it with one inference. Nobody here knows a
robot: each question stands for itself. `application` lays this out for Ray Serve; nothing else
here needs Ray.
"""
