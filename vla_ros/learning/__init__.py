"""Learning from demonstrations: rollouts, datasets, training. Needs torch and mink."""

import vla_ros.sim  # noqa: F401  says how to render before mink imports mujoco
