"""Puts this environment's libraries on `LD_LIBRARY_PATH`, in environments laid over a ROS 2.

ROS 2 looks for the type support of messages there. `setup_env.py` copies this module into the
environment, where each start of Python imports it: the variable is read when a process starts,
so a process without it starts itself once more. (The ROS 2 wheels bring the same for themselves.)
"""

import os
import sys

_LIBRARIES = os.path.join(sys.prefix, "lib")  # noqa: PTH118 - pathlib would slow every start
_PATH = os.environ.get("LD_LIBRARY_PATH", "")

if _LIBRARIES not in _PATH.split(os.pathsep):
    os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, (_LIBRARIES, _PATH)))
    os.execv(sys.executable, sys.orig_argv)
