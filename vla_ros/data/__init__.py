"""Episodes on disk: recorded, read, converted, checked."""
