"""Simulation, policy, gate and planner; `ros2 launch vla_ros sim.launch.py --show-args`."""

from launch import LaunchDescription

from vla_ros.bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph with the simulator."""
    return launch_description("sim")
