"""Makes graphs with a declared signature of LeRobot checkpoints."""

from vla_ros.engine.lerobot_export.export import export_lerobot

__all__ = ["export_lerobot"]
