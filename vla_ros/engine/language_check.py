"""Holds a language encoder to what a policy was made for."""

from __future__ import annotations

from pathlib import Path

from vla_ros.core.errors import BundleError
from vla_ros.engine.language import LanguageEncoder
from vla_ros.policy.configuration import PolicyConfig


def require_language(encoder: LanguageEncoder, config: PolicyConfig, directory: Path) -> None:
    """Refuse token features that a policy was not made for.

    Raises:
        BundleError: naming both sides.
    """
    found = (encoder.kind, encoder.tokens, encoder.width)
    wanted = (config.language_encoder, config.language_tokens, config.language_features)
    if found != wanted:
        kind, tokens, width = found
        raise BundleError(
            f"{directory}: language.onnx is a {kind!r} encoder that gives {width} features of "
            f"{tokens} tokens, and the policy reads {wanted[2]} features of {wanted[1]} tokens of "
            f"a {wanted[0]!r} one; take the encoder that it was trained with"
        )
