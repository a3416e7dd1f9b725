"""A declared signature: what the graphs of somebody else's policy take and give.

A directory with a `signature.yaml`, or that file itself, makes a policy of any ONNX file: each
tensor is said to be a feature of the robot contract, in which layout, type and size, and how it is
normalized where the graph does not do that itself. docs/how-to/lerobot.md lists every key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from vla_ros.policy.bundle import file_sha256

#: File of a signature in its directory.
SIGNATURE = "signature.yaml"
#: Layouts of an image and types of a tensor.
LAYOUTS = ("hwc", "chw")
DTYPES = ("uint8", "float32")
#: What actions may count from.
RELATIVE = ("nothing", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """`(value - mean) / std` of an input, `value * std + mean` of an output; empty: as it is."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """A camera.

    Attributes:
        tensor: Name of the graph's input, of shape (batch, height, width, 3), or (batch, 3,
            height, width) with the layout "chw".
        feature: `observation.images.<camera>`.
        layout: One of `LAYOUTS`.
        dtype: One of `DTYPES`.
        height: In [px]; nothing is resized.
        width: In [px].
        scale: Factor before the normalization, for float32: 1/255 makes 0 to 1.
        normalization: For each of the three channels.
    """

    tensor: str
    feature: str
    layout: str
    dtype: str
    height: int
    width: int
    scale: float = 1.0
    normalization: Normalization = Normalization()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor, without the batch."""
        size = (self.height, self.width)
        return (*size, 3) if self.layout == "hwc" else (3, *size)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInput:
    """The joint positions in [rad] or [m], float32 (batch, n)."""

    tensor: str
    normalization: Normalization = Normalization()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInput:
    """The instruction as token numbers, int64 (batch, length).

    Attributes:
        tensor: Name of the graph's input.
        mask: Name of the input that is true where there is a token, bool (batch, length); "" for
            a graph that wants none.
        tokenizer: File in the format of `tokenizers`, beside the signature.
        length: Tokens that the graph takes.
        pad: Number of the token that fills the rest.
        suffix: Put behind the text, unless it ends so.
    """

    tensor: str
    mask: str
    tokenizer: Path
    length: int
    pad: int
    suffix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOutput:
    """Joint targets, (batch, horizon, n).

    Attributes:
        tensor: Name of the output; of the tensor that is denoised, in a two-stage policy.
        relative_to: "state" where targets count from the joint positions of the observation.
        normalization: Undone after the graph, for each joint.
    """

    tensor: str
    relative_to: str = "nothing"
    normalization: Normalization = Normalization()


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoising:
    """The second stage: `x += velocity / -steps`, from noise at time 1 to actions at time 0.

    What the first graph gives is kept for the whole loop; the second takes it by the same names.

    Attributes:
        graph: File of the second graph.
        noisy: Its input that is denoised, float32 (batch, horizon, width).
        time: Its input that says the time, float32 (batch,).
        velocity: Its output.
        steps: Times that it runs for one observation.
    """

    graph: Path
    noisy: str
    time: str
    velocity: str
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a policy's graphs take and give.

    Attributes:
        file: Where it was read.
        name: Of the policy.
        graph: File of the graph, or of the first of two.
        step_s: Time between two rows of a chunk in [s]; None for the period of the robot's first
            camera.
        joints: Joint of each column; empty if only their number is known.
        images: Cameras that it takes.
        state: Joint positions that it takes; None for none.
        task: Instruction that it takes; None for none.
        action: What it gives.
        denoising: Its second stage; None if there is one graph.
    """

    file: Path
    name: str
    graph: Path
    step_s: float | None
    joints: tuple[str, ...]
    images: tuple[ImageInput, ...]
    state: StateInput | None
    task: TaskInput | None
    action: ActionOutput
    denoising: Denoising | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide what it does."""
        files = [self.file, self.graph]
        if self.denoising is not None:
            files.append(self.denoising.graph)
        if self.task is not None:
            files.append(self.task.tokenizer)
        return tuple(files)

    def sha256(self) -> str:
        """Return the hash of the hashes of its files."""
        hashes = "\n".join(file_sha256(file) for file in self.files)
        return hashlib.sha256(hashes.encode()).hexdigest()
