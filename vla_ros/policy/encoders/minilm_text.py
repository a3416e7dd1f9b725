"""Language encoder `minilm`: MiniLM, or another sentence encoder of the BERT family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vla_ros.core.errors import UserError
from vla_ros.policy.encoders.language import (
    SETTING,
    LanguageKind,
    LanguageModel,
    derived_from,
    load_tokenizer,
)
from vla_ros.policy.minilm import MiniLM


def open_minilm(source: str, config: dict[str, Any]) -> LanguageModel:
    """Load MiniLM (Wang et al. 2020), the last layer's features of every word piece.

    Raises:
        UserError: if files are missing or of another architecture.
    """
    if (activation := config.get("hidden_act", "gelu")) != "gelu":
        raise UserError(
            f"{source}: has the activation {activation!r}, and {SETTING} reads models of kind "
            "'bert' with 'gelu' alone"
        )
    folder = Path(source).expanduser()
    if not folder.exists():
        from huggingface_hub import snapshot_download  # starts slowly

        files = ["config.json", "model.safetensors", "tokenizer.json"]
        folder = Path(snapshot_download(source, allow_patterns=files))
    try:
        module = MiniLM.from_directory(folder)
    except FileNotFoundError as error:
        raise UserError(
            f"{source}: lacks model.safetensors; weights are read from safetensors files alone"
        ) from error
    except RuntimeError as error:  # names or shapes of the weights
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"{source}: the weights are not those of a plain BERT encoder, which {SETTING} reads: "
            f"{reason}"
        ) from error
    return LanguageModel(
        module=module,
        tokenizer=load_tokenizer(str(folder), int(config["vocab_size"])),
        tokens=int(config["max_position_embeddings"]),
        licence=derived_from(source),
    )


MINILM = LanguageKind(model_types=("bert",), open=open_minilm)
