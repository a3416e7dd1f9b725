"""Vision-language-action policies on ROS 2 robots.

The data flow, one process a box, and the package that holds each box's logic::

     camera  depth  imu  joint_states         instruction (action goal, command line)
        |      |     |       |                        |
        +------+--+--+-------+                        v
                  v                            planner          vla_ros.planner
             observation                (vocabulary, progress, refusal, typed outcome)
        (contract, time alignment)                    |
         vla_ros.contract, .observation               |
                  v                                   |
               policy  <------ subtask instruction ---+
        (encoders, fusion, action head)
         vla_ros.policy in torch, .engine on ONNX Runtime
                  | action chunk: H future targets, stamped with their observation
                  v
                gate  <------- e-stop; teleop: an operator's short chunks     vla_ros.teleop
        (arbitrate, admit, blend, interpolate, limit, watchdog)      vla_ros.safety
                  | commands at control rate
                  v
         robot drivers, ros2_control, or the simulator         vla_ros.sim

Everything that differs between robots is in one file, the robot contract. `vla_ros.core` is what
all of them import. `vla_ros.ros` and `vla_ros.nodes` wire the boxes to topics, `vla_ros.bringup`
says which nodes make a graph, and `vla_ros.cli` is the `vla_ros` command. `vla_ros.learning`
collects demonstrations and trains, `vla_ros.evaluation` measures; nothing that runs on a robot
imports them.
"""

__version__ = "0.1.0"
