"""Language encoders made of small CLIP, T5 and BERT models: exported, and run without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from vla_ros.core.conventions import MAX_TOKENS
from vla_ros.core.errors import BundleError, InstructionRejected, UserError
from vla_ros.engine.language import LanguageEncoder
from vla_ros.engine.language_check import require_language
from vla_ros.learning.encoder_choice import with_language
from vla_ros.learning.recipes import tabletop_small
from vla_ros.policy.language_export import export_language, open_language

WORDS = ["lift", "push", "the", "red", "blue", "cube", "ball", "bowl", "into"]
TEXT = "lift the red cube into the bowl"
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
#: Kind, longest sentence and word pieces of `TEXT`, the ends of a sentence included.
EXPECTED = {"clip": ("clip", 12, 9), "t5": ("t5", MAX_TOKENS, 8), "bert": ("minilm", 20, 9)}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def language_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models with random weights and a tokenizer, as `transformers` writes them."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    known = len(WORDS) + 3
    ends = {"bos_token_id": 0, "eos_token_id": 1}
    vision = SIZES | {"image_size": 16, "patch_size": 8}
    text = SIZES | ends | {"vocab_size": known, "max_position_embeddings": 12}
    made = {
        "clip": transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        ),
        "t5": transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=known, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
            )
        ),
        "bert": transformers.BertModel(
            transformers.BertConfig(**SIZES, vocab_size=known, max_position_embeddings=20)
        ),
    }
    folders = {}
    for kind, model in made.items():
        folders[kind] = tmp_path_factory.mktemp("models") / kind
        model.save_pretrained(folders[kind])
        make_tokenizer("$A <end>" if kind == "t5" else "<start> $A <end>").save(
            str(folders[kind] / "tokenizer.json")
        )
    return folders


def make_tokenizer(template: str, words: list[str] = WORDS) -> Tokenizer:
    names = ["<start>", "<end>", "<unknown>", *words]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    tokenizer.enable_padding(length=11)
    return tokenizer


@pytest.fixture(scope="module")
def exported(
    language_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What the models become."""
    folders = {kind: tmp_path_factory.mktemp("language") / kind for kind in language_models}
    for kind, folder in folders.items():
        export_language(folder, str(language_models[kind]), quantize=False)
    return folders


def features_of(source: Path, text: str) -> NDArray[np.float32]:
    _, model = open_language(str(source))
    ids = torch.tensor([model.tokenizer.encode(text).ids])
    with torch.inference_mode():
        features: NDArray[np.float32] = model.module.eval()(ids, torch.ones_like(ids))[0].numpy()
    return features


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_exported_file_computes_what_the_model_does(
    language_models: dict[str, Path], exported: dict[str, Path], kind: str
) -> None:
    encoder = LanguageEncoder(exported[kind])
    name, longest, pieces = EXPECTED[kind]
    assert (encoder.kind, encoder.tokens, encoder.width) == (name, longest, 16)
    for text in (TEXT, "push", "lift the ball"):
        tokens = encoder.encode(text)
        expected = features_of(language_models[kind], text)
        assert tokens.features.shape == (longest, 16)
        assert tokens.mask.sum() == len(expected)
        assert not tokens.features[len(expected) :].any()
        assert np.abs(tokens.features[: len(expected)] - expected).max() <= 1e-4
    assert encoder.encode(TEXT).mask.sum() == pieces


@pytest.mark.parametrize("kind", EXPECTED)
def test_words_that_differ_get_other_features(exported: dict[str, Path], kind: str) -> None:
    encoder = LanguageEncoder(exported[kind])
    red, blue = (encoder.encode(f"lift the {colour} cube").features for colour in ("red", "blue"))
    assert np.abs(red - blue).max() > 1e-3


def test_a_sentence_longer_than_the_model_reads_is_refused(exported: dict[str, Path]) -> None:
    with pytest.raises(InstructionRejected, match="has 14 word pieces; the policy reads 12"):
        LanguageEncoder(exported["clip"]).encode("red " * 12)


def test_large_weights_become_eight_bit(tmp_path: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=8000, d_model=32, d_kv=8, d_ff=4000, num_layers=1, num_heads=4
    )
    source = tmp_path / "model"
    transformers.T5EncoderModel(config).save_pretrained(source)
    words = [*WORDS, *(f"word{index}" for index in range(5000))]
    make_tokenizer("$A <end>", words).save(str(source / "tokenizer.json"))
    whole = export_language(tmp_path / "whole", str(source), quantize=False)
    small = export_language(tmp_path / "small", str(source))
    a, b = (LanguageEncoder(path.parent).encode(TEXT) for path in (whole, small))
    first, second = a.features[a.mask], b.features[b.mask]
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    assert small.stat().st_size < 0.35 * whole.stat().st_size
    assert ((first * second).sum(1) / norms).min() > 0.99


def test_what_runs_needs_neither_torch_nor_transformers(exported: dict[str, Path]) -> None:
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'onnx', 'safetensors')))\n"
        "from vla_ros.engine.language import LanguageEncoder\n"
        "for folder in sys.argv[1:]:\n"
        f"    assert LanguageEncoder(folder).encode({TEXT!r}).mask.sum() in (8, 9)\n"
    )
    folders = [str(folder) for folder in exported.values()]
    subprocess.run([sys.executable, "-c", script, *folders], check=True)


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_policy_follows_its_language_encoder(exported: dict[str, Path], kind: str) -> None:
    config = with_language(tabletop_small(), exported[kind])
    name, longest, _ = EXPECTED[kind]
    assert (config.language_encoder, config.language_tokens) == (name, longest)
    assert config.language_features == 16
    require_language(LanguageEncoder(exported[kind]), config, exported[kind])


def test_another_encoder_than_a_policys_own_is_refused(exported: dict[str, Path]) -> None:
    with pytest.raises(
        BundleError,
        match=r"is a 't5' encoder that gives 16 features of 32 tokens, and the policy reads "
        r"384 features of 32 tokens of a 'minilm' one",
    ):
        require_language(LanguageEncoder(exported["t5"]), tabletop_small(), exported["t5"])


def test_the_licence_note_names_the_model(exported: dict[str, Path]) -> None:
    note = (exported["clip"] / "LANGUAGE_LICENSE.txt").read_text(encoding="utf-8")
    assert "derived from the model clip." in note
    assert "licence of that model applies" in note


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(
        UserError, match=r"a model of kind 'dinov2', and --model reads bert, clip, clip_text_model"
    ):
        export_language(tmp_path / "out", str(tmp_path))
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model, since config\.json is missing; --model"):
        export_language(tmp_path / "out", str(tmp_path / "nowhere"))


def spoiled(source: Path, folder: Path, without: str) -> Path:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(without))
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("clip", "cannot load a CLIPTextModel from it"),
        ("t5", "cannot load a T5EncoderModel from it"),
        ("bert", r"lacks model\.safetensors"),
    ],
)
def test_missing_weights_are_named(
    language_models: dict[str, Path], tmp_path: Path, kind: str, message: str
) -> None:
    folder = spoiled(language_models[kind], tmp_path / kind, "model.safetensors")
    with pytest.raises(UserError, match=message):
        open_language(str(folder))


def test_a_missing_tokenizer_is_named(language_models: dict[str, Path], tmp_path: Path) -> None:
    folder = spoiled(language_models["bert"], tmp_path / "bert", "tokenizer.json")
    with pytest.raises(UserError, match=r"tokenizer knows \d word pieces.*takes a folder that"):
        open_language(str(folder))


def test_a_tokenizer_of_another_model_is_refused(
    language_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = spoiled(language_models["t5"], tmp_path / "t5", "tokenizer.json")
    more = [f"word{index}" for index in range(100)]
    make_tokenizer("$A <end>", more).save(str(folder / "tokenizer.json"))
    with pytest.raises(UserError, match="tokenizer knows 103 word pieces, and the model 12"):
        open_language(str(folder))


def test_weights_of_another_architecture_are_refused(
    language_models: dict[str, Path], tmp_path: Path
) -> None:
    import transformers

    config = transformers.BertConfig(**SIZES | {"hidden_size": 24}, vocab_size=12)
    folder = spoiled(language_models["bert"], tmp_path / "bert", "config.json")
    config.save_pretrained(folder)
    with pytest.raises(UserError, match="not those of a plain BERT encoder, which --model reads"):
        open_language(str(folder))


def test_a_graph_that_is_no_language_encoder_is_refused(tmp_path: Path) -> None:
    import onnx

    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "g",
        [value("x", onnx.TensorProto.FLOAT, [1])], [value("y", onnx.TensorProto.FLOAT, [1])],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "language.onnx")
    make_tokenizer("$A <end>").save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BundleError, match=r"is no language encoder.*`vla_ros language` makes one"):
        LanguageEncoder(tmp_path)
