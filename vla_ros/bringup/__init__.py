"""Which nodes run, with which parameters: one description for launch files and the CLI."""
