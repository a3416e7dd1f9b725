"""What every encoder must do: subclass the suite of its modality in a test file of the encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.encoders import (
    CELLS,
    CloudBatch,
    ImageEncoder,
    ImuEncoder,
    OwnDepth,
    PointEncoder,
)
from vla_ros.policy.encoders.image import CHANNELS, DEPTH_CHANNELS
from vla_ros.policy.fusion import STREAMS, EarlyFusion, Stream
from vla_ros.testing.exported import run_exported

BATCH = 3
PARITY = 1e-4

Values = tuple[Tensor, ...]


class EncoderConformance(ABC):
    """The tests of all encoders; the suites below say what a modality's encoder takes.

    Attributes:
        stream: Which of `STREAMS` the tokens are fused as.
    """

    stream: ClassVar[str]

    @abstractmethod
    def make_encoder(self) -> nn.Module:
        """Return the encoder, with random weights."""

    @abstractmethod
    def make_values(self, seed: int, batch: int = BATCH) -> Values:
        """Return random readings, of which everything is there."""

    @abstractmethod
    def read(self, encoder: nn.Module, values: Values, there: Tensor) -> Stream:
        """Return the tokens of readings that are there where `there` (B, 1) is 1."""

    @abstractmethod
    def token_shape(self) -> tuple[int, int]:
        """Return how many tokens there are and how wide they are."""

    @pytest.fixture
    def encoder(self) -> nn.Module:
        """The encoder as if it had been trained a little: no adapter still without effect."""
        torch.manual_seed(0)
        encoder = self.make_encoder().eval()
        with torch.no_grad():
            for value in encoder.parameters():
                if value.requires_grad:
                    value.add_(0.05 * torch.randn_like(value))
        return encoder

    def test_tokens_and_mask_have_their_shapes(self, encoder: nn.Module) -> None:
        """The mask says which rows are there."""
        there = torch.tensor([[1.0], [0.0], [1.0]])
        stream = self.read(encoder, self.make_values(0), there)
        count, width = self.token_shape()
        assert stream.tokens.shape == (BATCH, count, width)
        assert torch.isfinite(stream.tokens).all()
        assert torch.equal(stream.mask, there.expand(-1, count))

    @torch.no_grad()
    def test_what_is_masked_can_change_nothing_at_all(self, encoder: nn.Module) -> None:
        """Bit for bit, in what a fusion makes of the tokens."""
        torch.manual_seed(0)
        fusion = EarlyFusion(self.token_shape()[1], 1, 1, 16).eval()
        gone = torch.zeros(BATCH, 1)
        decisions = [
            fusion(self._beside(self.read(encoder, self.make_values(seed), gone))).tokens
            for seed in (1, 2)
        ]
        assert torch.isfinite(decisions[0]).all()
        assert torch.equal(*decisions)

    @torch.no_grad()
    def test_what_is_there_counts(self, encoder: nn.Module) -> None:
        """Other readings make other tokens."""
        first, second = (self._tokens(encoder, self.make_values(seed)) for seed in (1, 2))
        assert (first - second).abs().max() > 1e-4

    @torch.no_grad()
    def test_rows_of_a_batch_do_not_mix(self, encoder: nn.Module) -> None:
        """One robot's sensors are not another one's."""
        values = self.make_values(0)
        whole = self._tokens(encoder, values)
        alone = self._tokens(encoder, tuple(value[1:2] for value in values))
        torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=1e-4)

    def test_what_is_to_be_trained_learns_and_what_is_frozen_does_not(
        self, encoder: nn.Module
    ) -> None:
        """No layer is built and not used."""
        tokens = self._tokens(encoder, self.make_values(0))
        (tokens * torch.randn_like(tokens)).sum().backward()  # type: ignore[no-untyped-call]
        learning = {name for name, value in encoder.named_parameters() if value.requires_grad}
        moved = {
            name
            for name, value in encoder.named_parameters()
            if value.grad is not None and bool((value.grad != 0).any())
        }
        assert learning
        assert moved == learning

    @torch.no_grad()
    def test_what_was_saved_is_what_is_loaded(self, encoder: nn.Module, tmp_path: Path) -> None:
        """Through safetensors, as in a bundle."""
        save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
        again = self.make_encoder().eval()
        again.load_state_dict(load_file(tmp_path / "encoder.safetensors"))
        values = self.make_values(0)
        assert torch.equal(self._tokens(encoder, values), self._tokens(again, values))

    def test_onnx_runtime_computes_what_torch_does(
        self, encoder: nn.Module, tmp_path: Path
    ) -> None:
        """Of readings that are there, and of such that are not."""
        flat, path = _Flat(encoder, self.read).eval(), tmp_path / "encoder.onnx"
        example = (*self.make_values(0, batch=1), torch.ones(1, 1))
        run = run_exported(flat, example, path)
        for seed, there in ((1, torch.ones(1, 1)), (2, torch.zeros(1, 1))):
            inputs = (*self.make_values(seed, batch=1), there)
            with torch.no_grad():
                expected = flat(*inputs)
            for ours, theirs in zip(expected, run(inputs), strict=True):
                assert np.abs(ours.numpy() - theirs).max() <= PARITY

    def _tokens(self, encoder: nn.Module, values: Values) -> Tensor:
        return self.read(encoder, values, torch.ones(len(values[0]), 1)).tokens

    def _beside(self, own: Stream) -> dict[str, Stream]:
        """Return the stream among others, in which everything is there."""
        draw = torch.Generator().manual_seed(0)
        tokens = torch.randn(BATCH, 2, self.token_shape()[1], generator=draw)
        streams = {name: Stream(tokens, torch.ones(BATCH, 2)) for name in STREAMS}
        return streams | {self.stream: own}


class _StackConformance(EncoderConformance):
    """What the suites of encoders share that make cells of a camera's stack."""

    config: ClassVar[PolicyConfig]
    stream = "front"

    def make_values(self, seed: int, batch: int = BATCH) -> Values:
        """Return a stack as `KeypointEncoder` makes it."""
        return (make_stack(self.config, seed, batch),)

    def token_shape(self) -> tuple[int, int]:
        """Return the cells, as wide as the configuration says."""
        return CELLS * CELLS, self.config.vision_width


class ImageEncoderConformance(_StackConformance):
    """The suite of image encoders; a subclass makes one for `config` and its front camera."""

    def read(self, encoder: nn.Module, values: Values, there: Tensor) -> Stream:
        """Return one token per cell."""
        assert isinstance(encoder, ImageEncoder)
        return encoder.tokens(values[0], there)

    @torch.no_grad()
    def test_the_map_has_its_cells(self, encoder: nn.Module) -> None:
        """In the shape that the eyes read."""
        cells = encoder(*self.make_values(0))
        assert cells.shape == (BATCH, self.config.vision_width, CELLS, CELLS)


class DepthMapConformance(_StackConformance):
    """The suite of depth encoders that add a map; a subclass makes one for `config`."""

    def read(self, encoder: nn.Module, values: Values, there: Tensor) -> Stream:
        """Return one token per cell; masked depth is unknown everywhere."""
        assert isinstance(encoder, OwnDepth)
        return encoder.tokens(_mask_depth(values[0], there))

    @torch.no_grad()
    def test_without_depth_nothing_is_added(self, encoder: nn.Module) -> None:
        """And with it, the image encoder sees none of it."""
        there = torch.tensor([[1.0], [0.0], [1.0]])
        stack = _mask_depth(self.make_values(0)[0], there)
        image, added = encoder(stack)
        assert not image[:, DEPTH_CHANNELS].any()
        assert added[0].any()
        assert not added[1].any()


class ImuEncoderConformance(EncoderConformance):
    """The suite of IMU encoders; a subclass makes one for `config`."""

    config: ClassVar[PolicyConfig]
    stream = "imu"

    def make_values(self, seed: int, batch: int = BATCH) -> Values:
        """Return a window of standardized readings."""
        draw = torch.Generator().manual_seed(seed)
        return (torch.randn(batch, self.config.imu_window, 6, generator=draw),)

    def read(self, encoder: nn.Module, values: Values, there: Tensor) -> Stream:
        """Return the window's tokens."""
        assert isinstance(encoder, ImuEncoder)
        stream: Stream = encoder(*values, there)
        return stream

    def token_shape(self) -> tuple[int, int]:
        """Return one token, as wide as the fusion's."""
        return 1, self.config.width


class PointEncoderConformance(EncoderConformance):
    """The suite of point encoders; a subclass makes one for tokens of `width`."""

    width: ClassVar[int]
    count: ClassVar[int]
    points: ClassVar[int] = 40
    stream = "front"

    def make_values(self, seed: int, batch: int = BATCH) -> Values:
        """Return points, the last ones of which are padding."""
        draw = torch.Generator().manual_seed(seed)
        points = torch.rand(batch, self.points, 6, generator=draw)
        real = torch.arange(self.points) < self.points - 7
        return points, real.float().expand(batch, -1).contiguous()

    def read(self, encoder: nn.Module, values: Values, there: Tensor) -> Stream:
        """Return the cloud's tokens."""
        assert isinstance(encoder, PointEncoder)
        stream: Stream = encoder(CloudBatch(*values), there)
        return stream

    def token_shape(self) -> tuple[int, int]:
        """Return what the subclass says."""
        return self.count, self.width

    @torch.no_grad()
    def test_padding_and_order_do_not_matter(self, encoder: nn.Module) -> None:
        """Bit for bit: a cloud is a set."""
        points, mask = self.make_values(0)
        expected = self._tokens(encoder, (points, mask))
        spoiled = torch.where(mask[..., None] > 0, points, torch.full_like(points, 9.0))
        assert torch.equal(self._tokens(encoder, (spoiled, mask)), expected)
        order = torch.randperm(self.points, generator=torch.Generator().manual_seed(0))
        shuffled = self._tokens(encoder, (points[:, order], mask[:, order]))
        torch.testing.assert_close(shuffled, expected)

    @torch.no_grad()
    def test_an_empty_cloud_has_no_tokens_and_no_nan(self, encoder: nn.Module) -> None:
        """Nothing stands on the table, or no depth was measured."""
        points, mask = self.make_values(0)
        stream = self.read(encoder, (points, torch.zeros_like(mask)), torch.ones(BATCH, 1))
        assert not stream.mask.any()
        assert torch.isfinite(stream.tokens).all()


def make_stack(config: PolicyConfig, seed: int, batch: int) -> Tensor:
    """Return a random stack (B, 7, H, W), the depth of which has holes."""
    draw = torch.Generator().manual_seed(seed)
    camera = config.cameras["front"]
    stack = torch.rand(batch, CHANNELS, camera.height, camera.width, generator=draw) * 2 - 1
    known = (stack[:, DEPTH_CHANNELS.stop - 1] > -0.5).float()
    stack[:, DEPTH_CHANNELS.start] *= known
    stack[:, DEPTH_CHANNELS.stop - 1] = known
    return stack


def _mask_depth(stack: Tensor, there: Tensor) -> Tensor:
    keep = torch.ones_like(stack)
    keep[:, DEPTH_CHANNELS] = there[..., None, None]
    return stack * keep


class _Flat(nn.Module):
    """An encoder with flat inputs and outputs, as a graph has them."""

    def __init__(
        self, encoder: nn.Module, read: Callable[[nn.Module, Values, Tensor], Stream]
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self._read = read

    def forward(self, *values: Tensor) -> Values:
        return tuple(self._read(self.encoder, values[:-1], values[-1]))
