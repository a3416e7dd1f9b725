"""Recording: messages as they come become episodes on disk, whatever happens meanwhile."""
