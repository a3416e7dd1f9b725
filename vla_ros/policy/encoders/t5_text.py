"""Language encoder `t5`: the encoder of a T5 model."""

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


def open_t5(source: str, config: dict[str, Any]) -> LanguageModel:
    """Load T5's encoder (Raffel et al. 2020), the features of every word piece.

    Raises:
        UserError: if weights or tokenizer are missing.
    """
    model = load_model(source, "T5EncoderModel", SETTING)
    return LanguageModel(
        module=LastState(model),
        tokenizer=load_tokenizer(source, int(config["vocab_size"])),
        tokens=int(config.get("n_positions", 512)),
        licence=derived_from(source),
    )


T5 = LanguageKind(model_types=("t5",), open=open_t5)
