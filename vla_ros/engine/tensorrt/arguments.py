"""What follows the colon in `tensorrt:fp16` and `tensorrt_rtx:int8,prebuilt`."""

from __future__ import annotations

from dataclasses import dataclass

from vla_ros.core.errors import EngineError
from vla_ros.engine.tensorrt.metadata import PRECISIONS

PREBUILT = "prebuilt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which engine is wanted.

    Attributes:
        library: `tensorrt` or `tensorrt_rtx`.
        precision: What it computes in.
        prebuilt: Whether it must be in the cache already; a robot may not have minutes to build.
    """

    library: str
    precision: str = "fp32"
    prebuilt: bool = False

    @staticmethod
    def parse(library: str, argument: str) -> Request:
        """Read words with commas between: a precision, and `prebuilt`; fp32 without one.

        Raises:
            EngineError: if a word means nothing; lists those that do.
        """
        words = [word.strip() for word in argument.split(",") if word.strip()]
        precisions = [word for word in words if word != PREBUILT]
        unknown = [word for word in precisions if word not in PRECISIONS]
        if unknown or len(precisions) > 1:
            raise EngineError(
                f"{library}:{argument}: expected one of {', '.join(PRECISIONS)}, and `{PREBUILT}` "
                f"if nothing may be built; got '{', '.join(unknown or precisions)}'"
            )
        return Request(
            library=library, precision=(precisions or ["fp32"])[0], prebuilt=PREBUILT in words
        )
