"""Records demonstrations: robot or simulator, teleop, recorder, and a policy to take over from.

`ros2 launch vla_ros collect.launch.py teleop:=network`; `--show-args` lists the arguments.
"""

from launch import LaunchDescription

from vla_ros.bringup.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Return the graph that records demonstrations."""
    return launch_description("collect")
