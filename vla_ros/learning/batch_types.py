"""What training batches hold: sentences, bare states, rendered states, questions about them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

Batch = TypeVar("Batch", bound=tuple[Any, ...])


class TextBatch(NamedTuple):
    """Token features (B, L, F), mask (B, L) and auxiliary classes (B, 6)."""

    tokens: Tensor
    mask: Tensor
    labels: Tensor


class AskedBatch(NamedTuple):
    """Q questions about each of B rendered states; M things stand on a table at most.

    Attributes:
        text: The B Q sentences.
        answers: (B, Q, M), 1 for the things that are right as the object.
        target: (B, Q, M), 1 for the target.
        present: (B, Q), whether everything that is asked for is there.
        described: Classes of colour and kind of object and target (B, Q, 2, 2), see
            `vla_ros.learning.questions`.
        readable: (B, Q), 0 where the sentence is too long to be read.
        novel: (B, Q), 1 where only demonstrations tell what is meant.
        told: What the sentences say of how the object is named, classes (B, Q, T).
    """

    text: TextBatch
    answers: Tensor
    target: Tensor
    present: Tensor
    described: Tensor
    readable: Tensor
    novel: Tensor
    told: Tensor


class TableBatch(NamedTuple):
    """Everything that stands on B tables: M things.

    `xyz` (B, M, 3) [m] in the base frame; classes `colour` and `kind` (B, M), -1 where there is
    no thing; `half` (B, M) [m], 0 for containers.
    """

    xyz: Tensor
    colour: Tensor
    kind: Tensor
    half: Tensor


class StateBatch(NamedTuple):
    """States with the expert's answer.

    `item`, `target` are true positions (B, 3) [m]; `start` (B, 2, 3) [m] those at the beginning;
    `has_target` (B,). `imitate` (B,) is what imitating the chunk counts, 0 for not at all. `text`
    holds a sentence for every `repeat` rows; `by_reference` (B / repeat,) is 1 where it names the
    object by reasoning, and `looks` (B / repeat, 2, 2) has the classes of colour and kind of
    object and target. `known` (B,) is how many rows of each chunk were executed before it came;
    None for policies that learn no delay.
    """

    text: TextBatch
    repeat: int
    state: Tensor
    imu: Tensor
    item: Tensor
    target: Tensor
    start: Tensor
    has_target: Tensor
    chunk: Tensor
    progress: Tensor
    present: Tensor
    imitate: Tensor
    known: Tensor | None
    by_reference: Tensor
    looks: Tensor


class ImageBatch(NamedTuple):
    """Rendered states; `queries` holds Q sentences per image, the episode's own first.

    `things` (B, Q, 2, 3) [m] are true positions of object and target of each sentence in the base
    frame, `exists` (B, Q, 2) whether there is one, `slack` (B, Q, 2) [m] how far its surface
    stands before its centre, `looks` (B, Q, 2, 2) the classes of colour and kind. `pose` per
    camera is the true T_base_optical (B, 4, 4).
    """

    state: StateBatch
    queries: TextBatch
    per_image: int
    rgb: tuple[Tensor, Tensor]
    depth: tuple[Tensor, Tensor]
    pose: tuple[Tensor, Tensor]
    things: Tensor
    exists: Tensor
    slack: Tensor
    looks: Tensor
    table: TableBatch
    asked: AskedBatch


def moved(batch: Batch, device: torch.device) -> Batch:
    """Return a batch, and what is in it, on a device."""

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device)
        return moved(value, device) if isinstance(value, tuple) else value

    values = [move(value) for value in batch]
    return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
