"""Names and numbers that several layers agree on."""

from __future__ import annotations

#: ROS namespace of the nodes.
NAMESPACE = "/vla"

#: Exit status of a process that the user has to mend something for; restarting would not help.
EXIT_CONFIGURATION = 78

#: How sensor topics may be subscribed to.
RELIABILITIES = ("best_effort", "reliable")

#: Longest instruction that is read, in characters and in word pieces of the language encoder.
MAX_CHARACTERS, MAX_TOKENS = 500, 32

#: Readings of the IMU in an observation, at 100 Hz.
IMU_WINDOW = 20

#: Drivers and discovery take their time: what is missing is no fault for this long [ns].
PATIENCE_NS = 3_000_000_000

#: Where a simulator tells what its scene can be drawn again from (JSON, latched): a recording that
#: has it can be replayed in other looks. Not in the contract, so no policy gets it.
SCENE_TOPIC = "/sim/scene"

#: Longest wait for the other messages of the instant that a camera's frame belongs to [s].
SETTLE_S = 0.012

#: Environment variable with what operators on the network have to give: a command line can be read
#: by everybody on the machine.
TOKEN_VARIABLE = "VLA_ROS_OPERATOR_TOKEN"
