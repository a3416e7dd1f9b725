"""Measures what each encoder costs: parameters, and time on one core as ONNX Runtime runs it.

Pretrained models are built at their published sizes with random weights, which costs the same:
nothing is downloaded. Time is that of the processor, so that other programs matter little.

python bench/encoders.py [--repeat 30] [--json PATH]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from torch import Tensor, nn

from vla_ros.core.errors import UserError
from vla_ros.engine.clouds import cloud_maker
from vla_ros.learning.recipes import tabletop_small
from vla_ros.observation.points import CloudMaker
from vla_ros.policy.configuration import CloudConfig, PolicyConfig
from vla_ros.policy.encoders import (
    CloudBatch,
    ConvImuEncoder,
    GruImuEncoder,
    OwnDepth,
    PointEncoder,
    PretrainedImageEncoder,
    ViTImageEncoder,
)
from vla_ros.policy.encoders.conv_image import ConvImageEncoder
from vla_ros.policy.encoders.language import LastState
from vla_ros.policy.encoders.vision_models import describe_vision
from vla_ros.policy.language_export import open_language
from vla_ros.sim.environment import Environment
from vla_ros.sim.scenes import TEST_SEED, sample_scene

#: Word pieces of the sentence that language encoders read.
PIECES = 10
VISION = {
    "pretrained: CLIP ViT-B/32": transformers.CLIPVisionConfig(),
    "pretrained: DINOv2 ViT-S/14": transformers.Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14
    ),
    "pretrained: SigLIP ViT-B/16": transformers.SiglipVisionConfig(image_size=224, patch_size=16),
}

#: An encoder with flat inputs, and one batch of them.
Subject = tuple[nn.Module, tuple[Tensor, ...]]


def main() -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (module, inputs) in subjects():
        parameters = sum(value.numel() for value in module.parameters())
        rows.append(
            {"encoder": name, "parameters": parameters, "cpu_ms": measure(module, inputs, options)}
        )
        print(f"{name:36} {parameters / 1e6:8.3f} M {rows[-1]['cpu_ms']:8.2f} ms", flush=True)
    if (making := measure_points(options.repeat)) is not None:
        rows.append({"encoder": "points: Open3D", "parameters": 0, "cpu_ms": making})
        print(f"{'points: made by Open3D':36} {'':10} {making:8.2f} ms")
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(machine)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2))


def subjects() -> Iterator[tuple[str, Subject]]:
    """Yield every encoder with a batch of one."""
    config = tabletop_small()
    front = config.cameras["front"]
    stack = torch.rand(1, 7, front.height, front.width)
    yield "image conv", (ConvImageEncoder(config, front), (stack,))
    yield "image vit", (ViTImageEncoder(config, front), (stack,))
    for name, vision in VISION.items():
        encoder = PretrainedImageEncoder(_pretrained(config, vision), front)
        yield f"image {name}", (encoder, (stack,))
    yield "depth own", (_Second(OwnDepth(config, front)), (stack,))
    cloud = (torch.rand(1, 512, 6), torch.ones(1, 512))
    yield "depth points", (_OfCloud(PointEncoder(config.width)), cloud)
    window = (torch.rand(1, config.imu_window, 6), torch.ones(1, 1))
    yield "imu conv", (_First(ConvImuEncoder(config)), window)
    yield "imu gru", (_First(GruImuEncoder(config)), window)
    words = (torch.randint(1, 900, (1, PIECES)), torch.ones(1, PIECES, dtype=torch.int64))
    yield "language minilm", (open_language("minilm")[1].module, words)
    clip = transformers.CLIPTextModel._from_config(
        transformers.CLIPTextConfig(), attn_implementation="eager"
    )
    yield "language clip: ViT-B/32", (LastState(clip), words)
    t5 = transformers.T5EncoderModel._from_config(
        transformers.T5Config(), attn_implementation="eager"
    )
    yield "language t5: T5-small", (LastState(t5), words)


def measure(module: nn.Module, inputs: tuple[Tensor, ...], options: argparse.Namespace) -> float:
    """Return the median processor time of one run [ms]."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.onnx"
        program = torch.onnx.export(module.eval(), inputs, dynamo=True, verbose=False)
        assert program is not None
        program.save(str(path), external_data=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), settings, ["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=False)}
    return processor_ms(lambda: session.run(None, feed), options.repeat)


def measure_points(repeat: int) -> float | None:
    """Return the median processor time of a scene's 512 points [ms]; None without Open3D."""
    cloud = CloudConfig(lower=(-0.1, -0.4, 0.004), upper=(0.5, 0.4, 0.5))
    config = replace(tabletop_small(), depth_encoder="points", cloud=cloud)
    try:
        make = cloud_maker(config)
    except UserError:
        return None
    assert isinstance(make, CloudMaker)
    environment = Environment()
    seen = environment.reset(sample_scene(seed=TEST_SEED, split="seeds", skill="lift")).observation
    environment.close()
    return processor_ms(lambda: make(seen.images["front"], seen.depths["front"]), repeat)


def processor_ms(work: Callable[[], object], repeat: int) -> float:
    """Return the median processor time of `work` [ms], after it ran twice."""
    times = []
    for _ in range(repeat + 2):
        begin = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - begin))
    return round(float(np.median(times[2:])), 3)


def _pretrained(config: PolicyConfig, vision: Any) -> PolicyConfig:
    with tempfile.TemporaryDirectory() as folder:
        vision.save_pretrained(folder)
        described = describe_vision(folder)
    return replace(config, image_encoder="pretrained", image_weights="-", image_model=described)


class _First(nn.Module):
    """The first of what a module returns."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *values: Tensor) -> Tensor:
        first: Tensor = self.module(*values)[0]
        return first


class _Second(_First):
    """The second of what a module returns."""

    def forward(self, *values: Tensor) -> Tensor:
        second: Tensor = self.module(*values)[1]
        return second


class _OfCloud(_First):
    """A point encoder with flat inputs."""

    def forward(self, *values: Tensor) -> Tensor:
        tokens: Tensor = self.module(CloudBatch(*values), torch.ones(1, 1)).tokens
        return tokens


if __name__ == "__main__":
    main()
