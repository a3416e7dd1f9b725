"""What every fusion must do: subclass `FusionConformance` in a test file of the fusion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vla_ros.policy.fusion import STREAMS, Fused, Fusion, Stream
from vla_ros.testing.exported import run_exported

#: Streams that may be missing, and how many tokens each stream of the tests has.
OPTIONAL = ("front", "wrist", "imu")
TOKENS = {"language": 4, "front": 3, "wrist": 2, "memory": 2, "state": 1, "imu": 1}
WIDTH, BATCH = 32, 3
PARITY = 1e-4


class FusionConformance(ABC):
    """The tests; a subclass says what is tested."""

    @abstractmethod
    def make_fusion(self, width: int) -> Fusion:
        """Return the fusion for tokens of a width, with weights of its own choice."""

    @pytest.fixture
    def fusion(self) -> Fusion:
        """The fusion as if it had been trained a little: no gate closed, no weight zero."""
        torch.manual_seed(0)
        fusion = self.make_fusion(WIDTH).eval()
        with torch.no_grad():
            for value in fusion.parameters():
                value.add_(0.05 * torch.randn_like(value))
        return fusion

    def test_opinions_and_weights_have_their_shapes(self, fusion: Fusion) -> None:
        """Weights are shares."""
        fused = fusion(make_streams(0))
        count = fused.tokens.shape[1]
        assert fused.tokens.shape == (BATCH, count, WIDTH)
        assert fused.weight.shape == (BATCH, count)
        assert (fused.weight >= 0).all()
        torch.testing.assert_close(fused.weight.sum(1), torch.ones(BATCH))

    @pytest.mark.parametrize("missing", [(name,) for name in OPTIONAL] + [OPTIONAL])
    def test_what_is_masked_can_change_nothing_at_all(
        self, fusion: Fusion, missing: tuple[str, ...]
    ) -> None:
        """Bit for bit, for one stream and for all that may be missing."""
        outputs = []
        for seed in (1, 2):
            streams, other = make_streams(0), make_streams(seed)
            for name in missing:
                streams[name] = Stream(other[name].tokens, torch.zeros(BATCH, TOKENS[name]))
            outputs.append(_decision(fusion(streams)))
        assert torch.isfinite(outputs[0]).all()
        assert torch.equal(*outputs)

    @pytest.mark.parametrize("name", STREAMS)
    def test_what_is_there_counts(self, fusion: Fusion, name: str) -> None:
        """No modality is overlooked."""
        streams = make_streams(0)
        before = _decision(fusion(streams))
        streams[name] = make_streams(1)[name]
        assert (_decision(fusion(streams)) - before).abs().max() > 1e-4

    def test_rows_of_a_batch_do_not_mix(self, fusion: Fusion) -> None:
        """One robot's sensors are not another one's."""
        streams = make_streams(0)
        whole = _decision(fusion(streams))
        alone = {name: Stream(s.tokens[1:2], s.mask[1:2]) for name, s in streams.items()}
        torch.testing.assert_close(_decision(fusion(alone)), whole[1:2])

    def test_every_parameter_learns(self, fusion: Fusion) -> None:
        """No layer is built and not used."""
        _decision(fusion(make_streams(0))).square().sum().backward()  # type: ignore[no-untyped-call]
        idle = [
            name
            for name, value in fusion.named_parameters()
            if value.grad is None or not bool((value.grad != 0).any())
        ]
        assert idle == []

    def test_what_was_saved_is_what_is_loaded(self, fusion: Fusion, tmp_path: Path) -> None:
        """Through safetensors, as in a bundle."""
        save_file(fusion.state_dict(), tmp_path / "fusion.safetensors")
        again = self.make_fusion(WIDTH).eval()
        again.load_state_dict(load_file(tmp_path / "fusion.safetensors"))
        streams = make_streams(0)
        assert torch.equal(_decision(fusion(streams)), _decision(again(streams)))

    def test_onnx_runtime_computes_what_torch_does(self, fusion: Fusion, tmp_path: Path) -> None:
        """With everything there, and with what may be missing gone."""
        flat, path = _Flat(fusion).eval(), tmp_path / "fusion.onnx"
        example = _flatten(make_streams(0, batch=1))
        run = run_exported(flat, example, path)
        for seed, missing in ((1, ()), (2, OPTIONAL)):
            streams = make_streams(seed, batch=1)
            for name in missing:
                streams[name] = Stream(streams[name].tokens, torch.zeros(1, TOKENS[name]))
            inputs = _flatten(streams)
            found = run(inputs)[0]
            with torch.no_grad():
                expected = flat(*inputs).numpy()
            assert np.abs(found - expected).max() <= PARITY


def make_streams(seed: int, batch: int = BATCH) -> dict[str, Stream]:
    """Return random streams in which everything is there."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: Stream(torch.randn(batch, count, WIDTH, generator=draw), torch.ones(batch, count))
        for name, count in TOKENS.items()
    }


def _decision(fused: Fused) -> Tensor:
    return (fused.tokens * fused.weight[..., None]).sum(1)


def _flatten(streams: dict[str, Stream]) -> tuple[Tensor, ...]:
    return tuple(value for name in STREAMS for value in streams[name])


class _Flat(nn.Module):
    """A fusion with flat inputs, as a graph has them."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, *values: Tensor) -> Tensor:
        pairs = zip(values[::2], values[1::2], strict=True)
        streams = {name: Stream(*pair) for name, pair in zip(STREAMS, pairs, strict=True)}
        return _decision(self.fusion(streams))
