"""Language encoder `clip`: the text half of a CLIP model."""

from __future__ import annotations

from typing import Any

from vla_ros.policy.encoders.language import (
    SETTING,
    LanguageKind,
    LanguageModel,
    LastState,
    derived_from,
    load_tokenizer,
)
from vla_ros.policy.encoders.model_source import load_model


def open_clip_text(source: str, config: dict[str, Any]) -> LanguageModel:
    """Load CLIP's text encoder (Radford et al. 2021), the features of every word piece.

    Each word piece knows those before it alone, as CLIP reads from left to right.

    Raises:
        UserError: if weights or tokenizer are missing.
    """
    del config  # of the whole model, perhaps; the text half's is read with the weights
    model = load_model(source, "CLIPTextModel", SETTING)
    return LanguageModel(
        module=LastState(model),
        tokenizer=load_tokenizer(source, int(model.config.vocab_size)),
        tokens=int(model.config.max_position_embeddings),
        licence=derived_from(source),
    )


CLIP_TEXT = LanguageKind(model_types=("clip", "clip_text_model"), open=open_clip_text)
