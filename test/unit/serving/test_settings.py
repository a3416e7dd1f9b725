"""What a server may be told, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from vla_ros.core.errors import UserError
from vla_ros.core.resources import resource_path
from vla_ros.serving.settings import GatewaySettings, ModelSettings, read_settings, thread_count


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "bundle: is missing"),
        ({"bundle": ""}, "bundle: name a bundle directory"),
        ({"bundle": "b", "replica": 2}, "replica: is no setting here; there are autoscale_max"),
        ({"bundle": "b", "replicas": "2"}, "replicas: expected int, got '2'"),
        ({"bundle": "b", "replicas": True}, "replicas: expected int, got True"),
        ({"bundle": "b", "replicas": 0}, "replicas: expected 1 to 1024, got 0"),
        ({"bundle": "b", "replicas": 3, "autoscale_max": 2}, "autoscale_max: expected 3"),
        ({"bundle": "b", "threads": -1}, "threads: expected 0"),
        ({"bundle": "b", "replica_gpus": float("nan")}, "replica_gpus: expected 0"),
    ],
)
def test_settings_of_the_models_that_cannot_be_are_named(
    values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=f"^{reason}"):
        read_settings(ModelSettings, values)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"port": 0}, "port: expected 1 to 65535, got 0"),
        ({"max_batch": 0}, "max_batch: expected 1"),
        ({"batch_wait_ms": -1.0}, "batch_wait_ms: expected 0"),
        ({"bundle": "b"}, "bundle: is no setting here; there are batch_wait_ms"),
    ],
)
def test_settings_of_the_gateway_that_cannot_be_are_named(
    values: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=f"^{reason}"):
        read_settings(GatewaySettings, values)


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray's own
def test_the_shipped_file_for_a_cluster_names_functions_that_exist_and_settings_that_fit() -> None:
    pytest.importorskip("ray")
    from vla_ros.serving import application

    file = yaml.safe_load(Path(resource_path("config/serve.yaml")).read_text(encoding="utf-8"))
    names = [each["name"] for each in file["applications"]]
    assert names == [application.APPLICATION, application.MODELS]
    for each in file["applications"]:
        module, _, function = each["import_path"].partition(":")
        assert module == application.__name__
        getattr(application, function)(each["args"])


def test_replicas_share_the_cpus_unless_threads_are_named() -> None:
    cpus = len(os.sched_getaffinity(0))
    assert thread_count(ModelSettings(bundle="b")) == cpus
    assert thread_count(ModelSettings(bundle="b", replicas=2)) == max(1, cpus // 2)
    assert thread_count(ModelSettings(bundle="b", autoscale_max=4 * cpus)) == 1
    assert thread_count(ModelSettings(bundle="b", replicas=2, threads=3)) == 3
