"""A declared signature: what the graphs of somebody else's policy take and give.

A directory with a `signature.yaml`, or that file itself, makes a policy of any ONNX file: each
tensor is said to be a feature of the robot contract, in which layout, type and size, and how it is
normalized where the graph does not do that itself. docs/how-to/lerobot.md lists every key.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_ros.contract.features import ACTION, STATE, TASK, FeatureKind, feature_kind
from vla_ros.contract.section import Section
from vla_ros.core.errors import BundleError, ContractError
from vla_ros.policy.bundle import file_sha256

SIGNATURE = "signature.yaml"
#: Layouts of an image and types of a tensor.
LAYOUTS = ("hwc", "chw")
DTYPES = ("uint8", "float32")
#: What the input of a two-stage policy begins from, and what may be declared beside features.
NOISE = "noise"
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

    @staticmethod
    def read(source: str | Path) -> Signature:
        """Read a signature.

        Args:
            source: The file, or a directory that has it.

        Raises:
            BundleError: if it cannot be read, or says something that is not understood.
        """
        file = Path(source)
        if file.is_dir():
            file /= SIGNATURE
        try:
            return _read(Section.read(file), file)
        except ContractError as error:
            raise BundleError(str(error)) from error


def is_signature(source: str | Path) -> bool:
    """Return whether a source has a declared signature."""
    path = Path(source)
    return (path / SIGNATURE).is_file() or (path.suffix in {".yaml", ".yml"} and path.is_file())


def _read(top: Section, file: Path) -> Signature:
    inputs = top.section("inputs")
    found: dict[str, Any] = {"images": (), "state": None, "task": None}
    for feature in inputs.keys():  # noqa: SIM118 - a Section is no mapping
        entry = inputs.section(feature)
        if feature_kind(feature) is FeatureKind.IMAGE:
            found["images"] += (_image(entry, feature),)
        elif feature == STATE:
            found["state"] = StateInput(
                tensor=entry.text("tensor"), normalization=_normalization(entry)
            )
        elif feature == TASK:
            found["task"] = _task(entry, file)
        else:
            inputs.fail(
                feature, f"expected observation.images.<camera>, {STATE} or {TASK} as an input"
            )
        entry.finish()
    signature = Signature(
        file=file,
        name=top.text("name"),
        graph=_file(top, "graph", file),
        step_s=top.number("step_s", above=0.0) if top.has("step_s") else None,
        joints=tuple(_texts(top, "joints")) if top.has("joints") else (),
        action=_action(top.section("outputs")),
        denoising=_denoising(top.section("denoising"), file) if top.has("denoising") else None,
        **found,
    )
    top.finish()
    return signature


def _image(entry: Section, feature: str) -> ImageInput:
    size = entry.value("size")
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int for n in size)):
        entry.fail("size", f"expected [height, width] in pixels, got {size!r}")
    dtype = entry.choice("dtype", DTYPES)
    scale, normalization = entry.number("scale", default=1.0), _normalization(entry)
    if dtype == "uint8" and (scale != 1.0 or normalization.mean):
        entry.fail("dtype", "uint8 is given as it is; scale, mean and std are for float32")
    return ImageInput(
        tensor=entry.text("tensor"),
        feature=feature,
        layout=entry.choice("layout", LAYOUTS),
        dtype=dtype,
        height=size[0],
        width=size[1],
        scale=scale,
        normalization=normalization,
    )


def _task(entry: Section, file: Path) -> TaskInput:
    return TaskInput(
        tensor=entry.text("tensor"),
        mask=entry.text("mask") if entry.has("mask") else "",
        tokenizer=_file(entry, "tokenizer", file),
        length=entry.whole("length"),
        pad=int(entry.number("pad", above=-1.0, default=0.0)),
        suffix=str(entry.value("suffix")) if entry.has("suffix") else "",
    )


def _action(outputs: Section) -> ActionOutput:
    entry = outputs.section(ACTION)
    output = ActionOutput(
        tensor=entry.text("tensor"),
        relative_to=entry.choice("relative_to", RELATIVE)
        if entry.has("relative_to")
        else RELATIVE[0],
        normalization=_normalization(entry, least=0.0),  # a joint that never moved has 0
    )
    entry.finish()
    outputs.finish()
    return output


def _denoising(entry: Section, file: Path) -> Denoising:
    denoising = Denoising(
        graph=_file(entry, "graph", file),
        noisy=entry.text("noisy"),
        time=entry.text("time"),
        velocity=entry.text("velocity"),
        steps=entry.whole("steps"),
    )
    entry.finish()
    return denoising


def _normalization(entry: Section, least: float = 1e-12) -> Normalization:
    if entry.has("mean") != entry.has("std"):
        entry.fail("mean", "mean and std go together; only one is there")
    if not entry.has("mean"):
        return Normalization()
    mean, std = (_numbers(entry, key) for key in ("mean", "std"))
    if len(mean) != len(std) or not all(value >= least for value in std):
        entry.fail("std", f"expected {len(mean)} numbers above 0, as many as mean, got {std}")
    return Normalization(mean=mean, std=std)


def _numbers(entry: Section, key: str) -> tuple[float, ...]:
    values = entry.value(key)
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not (numbers and all(map(math.isfinite, values))):
        entry.fail(key, f"expected a list of finite numbers, got {values!r}")
    return tuple(float(value) for value in values)


def _texts(entry: Section, key: str) -> tuple[str, ...]:
    values = entry.value(key)
    if not (isinstance(values, list) and values and all(isinstance(v, str) for v in values)):
        entry.fail(key, f"expected a list of names, got {values!r}")
    return tuple(values)


def _file(entry: Section, key: str, signature: Path) -> Path:
    path = signature.parent / entry.text(key)
    if not path.is_file():
        entry.fail(key, f"{path}: no such file")
    return path
