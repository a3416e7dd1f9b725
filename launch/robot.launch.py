"""Policy, gate and planner for hardware; `ros2 launch vla_ros robot.launch.py robot:=FILE`."""

from launch import LaunchDescription

from vla_ros.bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph without the simulator."""
    return launch_description("robot")
