"""ROS parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vla_ros.contract import find_contract, load_contract
from vla_ros.core.conventions import NAMESPACE, SCENE_TOPIC
from vla_ros.data.message_chunk import Compression
from vla_ros.data.recording.settings import RecorderSettings
from vla_ros.nodes.raw_topics import Wanted
from vla_ros.ros.parameters import parameter

#: What `topics` may be, beside a list of names.
CONTRACT_TOPICS, ALL_TOPICS = "contract", "all"
#: Our own topics, their types, and whether they are latched.
OURS = (
    (f"{NAMESPACE}/instruction", "std_msgs/msg/String", True),
    (f"{NAMESPACE}/policy/chunk", "vla_ros_interfaces/msg/ActionChunk", False),
    (f"{NAMESPACE}/teleop/command", "vla_ros_interfaces/msg/ActionChunk", False),
    (f"{NAMESPACE}/gate/status", "vla_ros_interfaces/msg/GateStatus", True),
    (f"{NAMESPACE}/gate/acting", "vla_ros_interfaces/msg/Acting", True),
)
#: Recorded where they are published.
COMMON = ("/tf", "/tf_static", "/clock", SCENE_TOPIC, f"{NAMESPACE}/estop")
COMPRESSIONS = {item.value or "none": item for item in Compression}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderParameters:
    """ROS parameters of the node."""

    contract: str = parameter(about="contract name or path")
    folder: str = parameter("recordings", about="folder of the recording; made if it is not there")
    operator_name: str = parameter("", about="who records, until recorder/start says otherwise")
    topics: str = parameter(
        CONTRACT_TOPICS,
        about="contract: those of the contract and of this graph; all; or names, with spaces",
    )
    compression: str = parameter("zstd", about="of the files: zstd, lz4 or none")
    level: int = parameter(1, about="how hard: zstd 1 to 22, or below 0 for less; lz4 0 to 16")
    file_mb: float = parameter(2000.0, about="a larger file is followed by another [MB]")
    file_s: float = parameter(600.0, about="so is a longer one [s]; 0 for no bound")
    queue_mb: float = parameter(256.0, about="what may wait for the disk [MB]")
    recent_s: float = parameter(0.0, about="what is kept in memory for save_recent [s]")
    recent_mb: float = parameter(512.0, about="bound of that memory [MB]")
    continuous: bool = parameter(False, about="find where episodes begin and end by itself")
    idle_s: float = parameter(2.0, about="then, rest that ends an episode [s]")
    longest_s: float = parameter(120.0, about="then, an episode's longest duration [s]")
    lead_s: float = parameter(1.0, about="then, what came before and belongs to it [s]")
    low_disk_gb: float = parameter(5.0, about="less free space than this is warned of [GB]")
    status_rate_hz: float = parameter(4.0, about="rate of recorder/status [Hz]")
    autostart: bool = parameter(True, about="configure and activate at once")

    def __post_init__(self) -> None:
        """Refuse a compression that is none, and a rate that is none."""
        if self.compression not in COMPRESSIONS:
            raise ValueError(
                f"compression: expected one of {', '.join(COMPRESSIONS)}, got '{self.compression}'"
            )
        if not 0.0 < self.status_rate_hz <= 50.0:
            raise ValueError(f"status_rate_hz: expected 0 to 50 Hz, got {self.status_rate_hz:g}")

    def settings(self) -> RecorderSettings:
        """Return what the recorder is told.

        Raises:
            ContractError: if there is no such contract, or it has an error.
            ValueError: if a bound leaves no room.
        """
        return RecorderSettings(
            folder=Path(self.folder).expanduser(),
            contract=load_contract(self.contract),
            contract_text=find_contract(self.contract).read_bytes(),
            operator=self.operator_name,
            compression=COMPRESSIONS[self.compression],
            level=self.level,
            file_bytes=round(1e6 * self.file_mb),
            file_s=self.file_s,
            queue_bytes=round(1e6 * self.queue_mb),
            recent_s=self.recent_s,
            recent_bytes=round(1e6 * self.recent_mb),
            continuous=self.continuous,
            idle_s=self.idle_s,
            longest_s=self.longest_s,
            lead_s=self.lead_s,
            low_disk_bytes=round(1e9 * self.low_disk_gb),
        )

    def wanted(self, settings: RecorderSettings) -> Wanted:
        """Return which topics are recorded."""
        if self.topics not in (CONTRACT_TOPICS, ALL_TOPICS):
            return Wanted(names=frozenset(self.topics.split()))
        contract = settings.contract
        names = {item.topic for item in contract.observations}
        cameras = [item.topic for item in contract.observations if item.camera]
        names |= {f"{topic.rpartition('/')[0]}/camera_info" for topic in cameras}
        names |= {contract.action.command.topic, *COMMON}
        return Wanted(names=frozenset(names), everything=self.topics == ALL_TOPICS, at_once=OURS)
