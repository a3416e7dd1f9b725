"""The `vla_ros` command."""
