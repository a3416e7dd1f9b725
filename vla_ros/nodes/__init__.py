"""One file per executable: wiring and `main` only."""
