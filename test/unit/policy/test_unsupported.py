from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vla_ros.core.errors import BundleError
from vla_ros.policy.export import _export
from vla_ros.policy.unsupported import explain_unsupported


class Eyes(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvals(image @ image.transpose(1, 2)).real
        return values


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.eyes = Eyes()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.eyes(image) + 1.0,)


def test_an_operator_that_onnx_lacks_is_named_with_its_node_and_module(tmp_path: Path) -> None:
    path, image = tmp_path / "policy.onnx", torch.rand(1, 4, 4)
    with pytest.raises(BundleError) as refused:
        _export(Network(), path, ("image",), ("values",), (image,), ())
    said = str(refused.value)
    assert f"{path}: cannot be made: operator aten.linalg_eig" in said
    assert "(node 'linalg_eig" in said
    assert "of module 'eyes'" in said
    assert not path.exists()


def test_an_error_that_names_no_operator_is_passed_on_by_its_first_line() -> None:
    error = RuntimeError("it does not work\nat line 7")
    assert explain_unsupported(error, Network(), ()) == "it does not work"
