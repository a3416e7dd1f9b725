"""The simulated tabletop: scenes, instructions, physics, sensors, scores. No ROS in here."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # mujoco reads it when it is imported
os.environ.setdefault("LP_NUM_THREADS", "1")  # the software renderer leaves the other cores alone
