"""Installs vla_ros with pip or colcon (ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "vla_ros"
HERE = Path(__file__).parent
NODES = ("gate", "planner", "policy", "recorder", "sim", "teleop")
SHARED_FOLDERS = ("config", "launch", "models", "urdf")


def shared_files() -> list[tuple[str, list[str]]]:
    """Return what goes to share/vla_ros, as pairs of a folder and the files in it."""
    pairs = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/bench", ["bench/musts.toml"]),
    ]
    for top in SHARED_FOLDERS:
        folders = [HERE / top, *(path for path in (HERE / top).rglob("*") if path.is_dir())]
        for folder in sorted(folders):
            if folder.name == "__pycache__" or not folder.is_dir():
                continue
            names = [path for path in sorted(folder.iterdir()) if path.is_file()]
            if names:
                target = f"share/{PACKAGE}/{folder.relative_to(HERE).as_posix()}"
                pairs.append((target, [path.relative_to(HERE).as_posix() for path in names]))
    return pairs


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Vision-language-action policies on ROS 2 robots.",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed"]},
    data_files=shared_files(),
    # Nothing here, so that pip never lays PyPI's packages over those of a sourced ROS 2;
    # requirements/ has the pins that `make` installs.
    install_requires=["setuptools"],
    # What runs graphs, by name alone: whatever numpy is there has to do. `cpu` and `gpu` exclude
    # each other; docs/reference/engines.md says what each engine needs.
    extras_require={
        "test": ["pytest"],
        "cpu": ["onnxruntime"],
        "gpu": ["onnxruntime-gpu", "cuda-bindings", "onnx", "tensorrt-rtx-cu12"],
        "jetson": ["cuda-bindings", "onnx"],  # JetPack has TensorRT
        "openvino": ["openvino"],
        "lerobot": ["lerobot"],
        "serve": ["ray[serve]", "msgpack"],
        "data": ["mcap", "rosbags", "av", "pyarrow"],
        "scale": ["ray[data]"],
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "vla_ros = vla_ros.cli.app:main",
            *(f"{node} = vla_ros.nodes.{node}:main" for node in NODES),
        ],
    },
)
