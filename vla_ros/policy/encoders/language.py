"""What every language encoder is: token features of word pieces, made into an ONNX file once.

A policy does not run these models: it is trained on, and runs, the file that
`vla_ros.policy.language_export` makes of one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.policy.encoders.model_source import import_pretrained

#: How the user chooses a language model, for errors.
SETTING = "--model"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """A pretrained model of sentences.

    Attributes:
        module: Token features (B, L, F) of ids and mask, both int64 (B, L).
        tokenizer: Cuts sentences into the ids.
        tokens: The longest sentence it reads, in word pieces.
        licence: A note for the bundle about where it comes from.
    """

    module: nn.Module
    tokenizer: Tokenizer
    tokens: int
    licence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageKind:
    """One kind of language encoder.

    Attributes:
        model_types: Values of `model_type` in config.json that it reads.
        open: Loads the model at a path or hub id, given that and the content of config.json.
    """

    model_types: tuple[str, ...]
    open: Callable[[str, dict[str, Any]], LanguageModel]


class LastState(nn.Module):
    """A model of `transformers` that returns its last hidden state alone."""

    def __init__(self, model: nn.Module) -> None:
        """Wrap a model."""
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return token features, shape (B, L, F), of ids and mask, both int64 (B, L)."""
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        features: Tensor = output.last_hidden_state
        return features


def load_tokenizer(source: str, words: int) -> Tokenizer:
    """Return the tokenizer at a path or hub id, without padding or truncation.

    Args:
        source: Folder or hub id.
        words: Word pieces that the model knows.

    Raises:
        UserError: if there is none, or one for other word pieces than the model knows.
    """
    file = Path(source).expanduser() / "tokenizer.json"
    try:
        if file.is_file():
            tokenizer = Tokenizer.from_file(str(file))
        else:
            auto = import_pretrained("transformers").AutoTokenizer
            folder = file.parent
            name = str(folder) if folder.exists() else source
            tokenizer = Tokenizer.from_str(auto.from_pretrained(name).backend_tokenizer.to_str())
    except UserError:
        raise
    except Exception as error:  # tokenizers raises bare Exception, transformers whatever it meets
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{source}: holds no tokenizer that can be read: {reason}; {SETTING} takes a folder "
            "that has a tokenizer.json beside config.json"
        ) from error
    known = tokenizer.get_vocab_size()
    if not words / 2 <= known <= words:  # transformers makes an empty one where there is none
        raise UserError(
            f"{source}: the tokenizer knows {known} word pieces, and the model {words}; they do "
            f"not belong together. {SETTING} takes a folder that has the model's tokenizer.json"
        )
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def derived_from(source: str) -> str:
    """Return the note for a model whose licence only its publisher can tell."""
    name = Path(source).name if Path(source).expanduser().exists() else source
    return (
        f"language.onnx and tokenizer.json are derived from the model {name}.\n"
        "The licence of that model applies to them; put its text here before you pass them on.\n"
    )
