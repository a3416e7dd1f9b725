"""More demonstrations from those that there are: other words, other looks, other tasks."""
