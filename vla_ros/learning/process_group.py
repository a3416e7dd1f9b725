"""The processes that train one policy together: on one CPU, on several GPUs, on several machines.

Hugging Face's `accelerate` finds out how many there are and on what they compute. Alone, a process
trains exactly as it would without.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from torch import Tensor, nn

from vla_ros.core.errors import UserError

#: What `device` may be: the accelerator that torch finds, else the CPU; or the CPU in any case.
DEVICES = ("auto", "cpu")

T = TypeVar("T")


class ProcessGroup:
    """The processes of a training run, and this one's place among them.

    Every method but `share` is collective: all processes have to call it, in the same order.
    """

    def __init__(self, *, processes: int = 1, device: str = "auto") -> None:
        """Join the group.

        Args:
            processes: How many there must be.
            device: One of `DEVICES`.

        Raises:
            UserError: if this process was not started as one of so many.
        """
        started = started_processes() or 1
        if started != processes:
            raise UserError(
                f"processes is {processes}, but {started} train together; start that many with "
                f"`vla_ros train --processes {processes}` or `accelerate launch --multi_gpu "
                f"--num_processes {processes} -m vla_ros.cli.app train`"
            )
        self._accelerator = Accelerator(
            cpu=device == "cpu" or not torch.accelerator.is_available(),
            mixed_precision="no",  # images alone are seen in bfloat16, see `losses.py`
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.count: int = self._accelerator.num_processes
        #: This process's number, 0 for the main one, which alone writes and talks.
        self.rank: int = self._accelerator.process_index
        self.device: torch.device = self._accelerator.device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def share(self, rows: int) -> int:
        """Return how many of a batch's rows this process draws; together they draw all."""
        return rows // self.count + (self.rank < rows % self.count)

    def prepare(self, module: nn.Module) -> nn.Module:
        """Return a module to call instead, so that `backward` averages its gradients."""
        # said of parameters that are expanded, on every process; it costs nothing at this size
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        prepared: nn.Module = self._accelerator.prepare(module)
        return prepared

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the mean of all processes' losses."""
        self._accelerator.backward(loss)

    def gather(self, value: T) -> list[T]:
        """Return every process's value, by rank."""
        values: list[T] = gather_object([value])
        return values

    def any_of(self, flag: bool) -> bool:
        """Return whether it is true in any process."""
        return any(self.gather(flag)) if self.count > 1 else flag

    def require_same(self, what: str, value: object) -> None:
        """Refuse to go on if processes disagree: they do not see the same files.

        Raises:
            UserError: in every process, naming all values.
        """
        values = self.gather(value)
        if any(other != values[0] for other in values):
            said = ", ".join(f"{other} in process {rank}" for rank, other in enumerate(values))
            raise UserError(
                f"{what} is {said}; all processes must see the same files, --output above all"
            )

    def wait(self) -> None:
        """Return once all processes have come here."""
        self._accelerator.wait_for_everyone()

    def close(self) -> None:
        """Leave the group, once there is nothing more to do together."""
        self._accelerator.end_training()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do the body before the others, which find what it wrote."""
        with self._accelerator.main_process_first():
            yield


def started_processes() -> int | None:
    """Return how many processes a launcher says it started; None if there was no launcher."""
    text = os.environ.get("WORLD_SIZE", "")
    return int(text) if text.isdecimal() else None


def require_devices(processes: int, device: str) -> None:
    """Refuse to start more processes than there are accelerators for them, if there are some.

    Raises:
        UserError: naming both numbers.
    """
    there = torch.accelerator.device_count() if torch.accelerator.is_available() else 0
    if device != "cpu" and there and processes > there:
        raise UserError(
            f"processes is {processes}, and this machine has {there} of "
            f"{torch.accelerator.current_accelerator()}; give --processes {there}, or --device cpu"
        )
