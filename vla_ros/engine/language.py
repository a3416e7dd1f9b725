"""From an instruction to token features, with `tokenizers` and ONNX Runtime only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vla_ros.core.conventions import MAX_CHARACTERS, MAX_TOKENS
from vla_ros.core.errors import BundleError, InstructionRejected

#: The tokenizer's file in a bundle.
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTokens:
    """Token features of one instruction, padded at the end; both arrays are read-only.

    Attributes:
        features: float32, shape (tokens, width); zero where `mask` is False.
        mask: bool, shape (tokens,); True for a token of the instruction.
    """

    features: NDArray[np.float32]
    mask: NDArray[np.bool_]


class LanguageEncoder:
    """Encodes instructions with a bundle's `language.onnx` and `tokenizer.json`.

    May be shared between threads: look-ups and inference run under one lock, which is right for
    something that happens once per instruction.

    Attributes:
        kind: Name of the kind of encoder, one of `vla_ros.policy.encoders.LANGUAGE_ENCODERS`.
        tokens: Word pieces of the longest instruction that is read.
        width: Of a token's features.

    Args:
        directory: The bundle.
        cache_size: Instructions whose features are remembered (49 kB each, with MiniLM).

    Raises:
        BundleError: if a file is missing or unreadable; names it.
    """

    def __init__(self, directory: str | Path, cache_size: int = 256) -> None:
        """Load the tokenizer and the model; one CPU thread is enough and the quietest."""
        folder = Path(directory)
        self._tokenizer = _load_tokenizer(folder / TOKENIZER)
        self._session = _load_session(folder / "language.onnx")
        self.kind, self.tokens, self.width = _read_notes(self._session, folder / "language.onnx")
        self._cache: OrderedDict[str, LanguageTokens] = OrderedDict()
        self._cache_size = cache_size
        self._lock = threading.Lock()

    def encode(self, text: str) -> LanguageTokens:
        """Return the token features of `text`; called at the start of every instruction.

        Raises:
            InstructionRejected: if the text is empty or longer than a policy reads.
        """
        with self._lock:
            tokens = self._cache.get(text)
            if tokens is None:
                tokens = self._encode(text)
                self._cache[text] = tokens
                if len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(text)
            return tokens

    def _encode(self, text: str) -> LanguageTokens:
        if not text.strip():
            raise InstructionRejected("the instruction is empty")
        if len(text) > MAX_CHARACTERS:
            raise InstructionRejected(
                f"the instruction has {len(text)} characters; at most {MAX_CHARACTERS} are read"
            )
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)  # (1, L)
        length = ids.shape[1]
        if length > self.tokens:
            raise InstructionRejected(
                f"the instruction has {length} word pieces; the policy reads {self.tokens}. "
                "Say it in fewer words."
            )
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        features = np.zeros((self.tokens, self.width), dtype=np.float32)
        features[:length] = self._session.run(["features"], inputs)[0][0]
        mask = np.arange(self.tokens) < length
        features.setflags(write=False)
        mask.setflags(write=False)
        return LanguageTokens(features=features, mask=mask)


def token_counter(directory: str | Path) -> Callable[[str], int]:
    """Return a function that counts a text's word pieces as the bundle's tokenizer cuts them.

    Raises:
        BundleError: if the tokenizer is missing or unreadable; names it.
    """
    tokenizer = _load_tokenizer(Path(directory) / TOKENIZER)
    return lambda text: len(tokenizer.encode(text).ids)


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise BundleError(f"{path}: is missing; the bundle has no tokenizer")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"{path}: is not a tokenizer: {error}") from error


def _read_notes(session: onnxruntime.InferenceSession, path: Path) -> tuple[str, int, int]:
    """Return kind, longest sentence and width of a graph; the shipped one has no notes."""
    notes = session.get_modelmeta().custom_metadata_map
    found = {output.name: output.shape for output in session.get_outputs()}
    try:
        width, tokens = int(found["features"][-1]), int(notes.get("tokens", MAX_TOKENS))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BundleError(
            f"{path}: is no language encoder, which gives 'features' of a fixed width; it gives "
            f"{found}; `vla_ros language` makes one"
        ) from error
    return notes.get("encoder", "minilm"), min(MAX_TOKENS, tokens), width


def _load_session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise BundleError(f"{path}: is missing; the bundle has no language encoder")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class but this
        raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
