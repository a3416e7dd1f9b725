"""Reads declared signatures; every key is asked for once, and others are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from vla_ros.contract.features import ACTION, STATE, TASK, FeatureKind, feature_kind
from vla_ros.contract.section import Section
from vla_ros.core.errors import BundleError, ContractError
from vla_ros.engine.signature import (
    DTYPES,
    LAYOUTS,
    RELATIVE,
    SIGNATURE,
    ActionOutput,
    Denoising,
    ImageInput,
    Normalization,
    Signature,
    StateInput,
    TaskInput,
)


def read_signature(source: str | Path) -> Signature:
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
