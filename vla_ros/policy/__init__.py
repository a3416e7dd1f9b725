"""The policies: torch models, what they are trained with, and the bundle they are written to."""
