"""The first bytes of an engine file: what can be read of it with no library and no GPU.

NVIDIA does not document this layout; it was read off engines of TensorRT RTX 1.7 that were built
for one compute capability after the other (the tests do so again). So nothing is trusted because
of it, but a file whose first bytes contradict its metadata is refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

#: Magic, four bytes of zero, format, length of the file, version in four bytes, magic,
#: compute capabilities as bits.
_RTX = struct.Struct("<4s4xQQ4B4sI")
_RTX_MAGIC = b"vtrt"
#: By their bits, the lowest first.
_CAPABILITIES = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """What the first bytes say.

    Attributes:
        version: Of the library that built it.
        length: Of the whole file, in bytes.
        capabilities: Compute capabilities that it is for.
    """

    version: str
    length: int
    capabilities: tuple[str, ...]


def read_header(path: Path) -> PlanHeader | None:
    """Return what the first bytes of an engine file say; None if this layout is not known."""
    with path.open("rb") as file:
        first = file.read(_RTX.size)
    if len(first) < _RTX.size:
        return None
    magic, _, length, *version, again, bits = _RTX.unpack(first)
    if (magic, again) != (_RTX_MAGIC, _RTX_MAGIC):
        return None
    return PlanHeader(
        version=".".join(map(str, version)),
        length=length,
        capabilities=tuple(n for bit, n in enumerate(_CAPABILITIES) if bits >> bit & 1),
    )
