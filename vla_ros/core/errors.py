"""The error types of vla_ros: what a user can mend, what is refused for safety, our bugs."""

from __future__ import annotations

from typing import Any


class VlaError(Exception):
    """Base class of every error that vla_ros raises on purpose; it travels between processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without calling `__init__` again, whose arguments differ from class to class.

        An exception that cannot be read back makes a `multiprocessing` pool wait for ever.
        """
        return _restore, (type(self), self.args, self.__dict__)


class UserError(VlaError):
    """Something the user can mend; the message says what, and how."""


class ContractError(UserError):
    """A robot contract, or data under it, is not what it should be."""


class BundleError(UserError):
    """A policy bundle is missing, corrupted, or made for something else."""


class EngineError(UserError):
    """A graph cannot be run by the backend that was asked for; says why, and the way out."""


class InstructionRejected(UserError):
    """An instruction that no policy should be given; the message says why."""


class ObservationError(UserError):
    """A sensor message or feature cannot be used.

    Attributes:
        source: Topic or feature that is at fault.
        reason: What was expected and what came.
    """

    def __init__(self, source: str, reason: str) -> None:
        """Name the topic or feature and the reason."""
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class SafetyError(VlaError):
    """A command that must not reach the robot."""


class NonFiniteCommand(SafetyError):
    """A command that holds NaN or infinity; names the joints."""


class ChunkRejected(SafetyError):
    """An action chunk that the gate does not execute; says why.

    Attributes:
        reason: One sentence that names the culprit, what was expected and what came.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason for the status message."""
        super().__init__(reason)
        self.reason = reason


class EmergencyStopEngaged(SafetyError):
    """A reset was asked for while the emergency stop is still pressed."""


class InferenceFailed(VlaError):
    """An inference brought nothing that may be executed, and the next one may: a server was late.

    Attributes:
        reason: One sentence that names what failed, what was expected and what came.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason for the diagnostics."""
        super().__init__(reason)
        self.reason = reason


class DefectError(VlaError):
    """A bug of ours: something that no input of a user should bring about."""


def _restore(kind: type[VlaError], args: tuple[object, ...], values: dict[str, Any]) -> VlaError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(values)
    return error
