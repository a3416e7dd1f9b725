"""Ways to mix the modalities, one module each, all behind `Fusion`."""

from __future__ import annotations

from vla_ros.core.errors import UserError
from vla_ros.policy.fusion.co_attention import CoAttentionFusion
from vla_ros.policy.fusion.cross_modality import CrossModalityFusion
from vla_ros.policy.fusion.early import EarlyFusion
from vla_ros.policy.fusion.gated_cross_attention import GatedCrossAttentionFusion
from vla_ros.policy.fusion.hybrid import HybridFusion
from vla_ros.policy.fusion.late import LateFusion
from vla_ros.policy.fusion.projector import ProjectorFusion
from vla_ros.policy.fusion.streams import STREAMS, Fused, Fusion, Stream

FUSIONS: dict[str, type[Fusion]] = {
    "early": EarlyFusion,
    "late": LateFusion,
    "hybrid": HybridFusion,
    "co_attention": CoAttentionFusion,
    "cross_modality": CrossModalityFusion,
    "gated_cross_attention": GatedCrossAttentionFusion,
    "projector": ProjectorFusion,
}


def find_fusion(name: str) -> type[Fusion]:
    """Return the class of a fusion.

    Raises:
        UserError: if there is none of this name; lists those there are.
    """
    if name not in FUSIONS:
        raise UserError(f"fusion {name!r} does not exist; choose one of {', '.join(FUSIONS)}")
    return FUSIONS[name]


__all__ = [
    "FUSIONS",
    "STREAMS",
    "CoAttentionFusion",
    "CrossModalityFusion",
    "EarlyFusion",
    "Fused",
    "Fusion",
    "GatedCrossAttentionFusion",
    "HybridFusion",
    "LateFusion",
    "ProjectorFusion",
    "Stream",
    "find_fusion",
]
