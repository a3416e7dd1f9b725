"""The policy: encoders, fusion, head.

Data flow: images and queries -> sightings (where the object and the target are, seen by each
camera) -> points in the base frame -> tokens, with joint state, IMU window, language slots and the
anchor (where things were when the instruction came) -> fusion -> action chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig
from vla_ros.policy.fusion import Stream, find_fusion
from vla_ros.policy.heads import Action, ChunkHead
from vla_ros.policy.kinematics import ForwardKinematics
from vla_ros.policy.language import SLOTS, LanguageSlots
from vla_ros.policy.vision import KeypointEncoder, Sighting

#: What each camera is asked for. The gripper's own image tells how far the camera's pose is off.
SOUGHT = {"front": ("object", "target", "gripper"), "wrist": ("object", "target")}


#: Nothing farther than this from the mean of the training data is believed [standard deviations].
STATE_LIMIT = 6.0


class Points(NamedTuple):
    """K points in the base frame: `xyz` (B, K, 3) [m] and `confidence` (B, K) in 0 to 1."""

    xyz: Tensor
    confidence: Tensor


class Inputs(NamedTuple):
    """One batch of observations.

    Attributes:
        rgb: Per camera (B, H, W, 3), 0 to 255.
        depth: Per camera (B, H, W) [m], 0 = hole.
        imu: (B, T, 6) gyro [rad/s] and accelerometer [m/s^2].
        state: (B, 3 n) joint positions [rad], velocities [rad/s], lead of the command in force
            over the positions [rad].
        language: (B, L, F) token features.
        language_mask: (B, L), 1 for a token.
        anchor: (B, 2, 4) xyz [m] and confidence of object and target at the start.
        present: (B, 5), 1 for each of `MODALITIES` that is there.
    """

    rgb: tuple[Tensor, Tensor]
    depth: tuple[Tensor, Tensor]
    imu: Tensor
    state: Tensor
    language: Tensor
    language_mask: Tensor
    anchor: Tensor
    present: Tensor


class Policy(nn.Module):
    """A compact language-conditioned RGB-D policy."""

    imu_mean: Tensor
    imu_std: Tensor
    state_mean: Tensor
    state_std: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        """Build the networks; normalization statistics come with the weights."""
        super().__init__()
        self.config = config
        width, n = config.width, config.n_joints
        self.kinematics = ForwardKinematics(config.kinematics)
        self.language = LanguageSlots(config.language_features, width, config.heads)
        self.vision = nn.ModuleDict(
            {
                name: KeypointEncoder(config.cameras[name], config.vision_width, width)
                for name in CAMERAS
            }
        )
        self.gripper_query = nn.Parameter(torch.randn(1, 1, width) * 0.3)
        self.place_embed = nn.ModuleDict(
            {f"{where}_{what}": _mlp(16, width) for where, what in self.places()}
        )
        self.state_embed = _mlp(3 * n + 9, width)
        self.imu_embed = nn.Sequential(
            nn.Conv1d(6, 32, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(32, 32, 3, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(_imu_width(config), width),
        )
        self.slot_type = nn.Parameter(torch.randn(len(SLOTS), width) * 0.1)
        fusion = find_fusion(config.fusion)
        self.fusion = fusion(width, config.heads, config.layers, config.feedforward)
        self.head = ChunkHead(width, config.horizon, n)
        self.register_buffer("imu_mean", torch.zeros(6))
        self.register_buffer("imu_std", torch.ones(6))
        self.register_buffer("state_mean", torch.zeros(3 * n))
        self.register_buffer("state_std", torch.ones(3 * n))

    @staticmethod
    def places() -> list[tuple[str, str]]:
        """Every (source, thing) whose position becomes a token, in the tokens' order."""
        places = [(camera, what) for camera in CAMERAS for what in SOUGHT[camera]]
        return [*places, ("anchor", "object"), ("anchor", "target")]

    def look(self, inputs: Inputs, slots: Tensor) -> dict[str, Sighting]:
        """Return each camera's sightings of object and target, and of the gripper by `front`."""
        sightings = {}
        queries = slots[:, 1:3]
        for index, name in enumerate(CAMERAS):
            wanted = queries
            if "gripper" in SOUGHT[name]:
                gripper = self.gripper_query.expand(queries.shape[0], -1, -1)
                wanted = torch.cat([queries, gripper], 1)
            sightings[name] = self.see(inputs, index, wanted)
        return sightings

    def see(self, inputs: Inputs, index: int, queries: Tensor) -> Sighting:
        """Return one camera's sightings of queries (B, K, width)."""
        name = CAMERAS[index]
        pose = self.camera_pose(name, inputs.state)
        with_depth = inputs.present[:, MODALITIES.index(f"depth_{name}"), None, None]
        encoder = self.vision[name]
        assert isinstance(encoder, KeypointEncoder)
        features, depth = encoder.features(
            inputs.rgb[index], inputs.depth[index] * with_depth, pose[0][:, 2], pose[1][:, 2]
        )
        sighting: Sighting = encoder(features, depth, queries)
        return sighting

    def camera_pose(self, name: str, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return rotation (B, 3, 3) and position (B, 3) of T_base_optical as in the contract."""
        camera = self.config.cameras[name]
        mount = torch.tensor(camera.mount, dtype=torch.float32, device=state.device)
        if not camera.on_hand:
            batch = state.shape[0]
            return mount[:3, :3].expand(batch, 3, 3), mount[:3, 3].expand(batch, 3)
        rotation, origin, _ = self.kinematics(state[:, : self.config.n_joints])
        return rotation @ mount[:3, :3], origin + rotation @ mount[:3, 3]

    def to_base(self, sightings: dict[str, Sighting], inputs: Inputs) -> dict[str, Points]:
        """Return the sightings in the base frame; a missing camera has no confidence."""
        points = {}
        for name, sighting in sightings.items():
            rotation, origin = self.camera_pose(name, inputs.state)
            xyz = sighting.point @ rotation.transpose(1, 2) + origin[:, None]
            there = inputs.present[:, MODALITIES.index(name), None]
            points[name] = Points(xyz, sighting.confidence * there)
        return points

    def act(self, inputs: Inputs, slots: Tensor, points: dict[str, Points]) -> Action:
        """Return the action for language slots and points: everything behind the eyes."""
        n = self.config.n_joints
        rotation, _, tcp = self.kinematics(inputs.state[:, :n])
        anchor = Points(inputs.anchor[..., :3], inputs.anchor[..., 3])
        always = torch.ones_like(tcp[:, :1])
        streams = {"language": Stream(slots + self.slot_type, torch.ones_like(slots[..., 0]))}
        for source in (*CAMERAS, "anchor"):
            seen = anchor if source == "anchor" else points[source]
            names = ("object", "target") if source == "anchor" else SOUGHT[source]
            tokens = []
            for index, what in enumerate(names):
                feature = _describe(seen.xyz[:, index], seen.confidence[:, index], tcp, rotation)
                tokens.append(self.place_embed[f"{source}_{what}"](feature))
            there = always
            if source != "anchor":
                there = inputs.present[:, MODALITIES.index(source), None]
            name = "memory" if source == "anchor" else source
            streams[name] = Stream(torch.stack(tokens, 1), there.expand(-1, len(tokens)))
        standard = (inputs.state - self.state_mean) / self.state_std
        standard = standard.clamp(-STATE_LIMIT, STATE_LIMIT)
        hand = torch.cat([tcp * 5, rotation[:, :, 0], rotation[:, :, 2]], -1)
        state_token = self.state_embed(torch.cat([standard, hand], -1))
        imu = ((inputs.imu - self.imu_mean) / self.imu_std).transpose(1, 2)
        streams["state"] = Stream(state_token[:, None], always)
        felt = inputs.present[:, MODALITIES.index("imu"), None]
        streams["imu"] = Stream(self.imu_embed(imu)[:, None], felt)
        fused = self.fusion(streams)
        lead = standard[:, 2 * n :] * self.state_std[2 * n :] + self.state_mean[2 * n :]
        command = inputs.state[:, :n] + lead
        action: Action = self.head(fused, state_token, command)
        return action

    def forward(self, inputs: Inputs) -> tuple[Action, dict[str, Points], dict[str, Sighting]]:
        """Return the action, and where each camera saw what it was asked for."""
        slots = self.language(inputs.language, inputs.language_mask)
        sightings = self.look(inputs, slots)
        points = self.to_base(sightings, inputs)
        return self.act(inputs, slots, points), points, sightings


def merge_points(points: dict[str, Points]) -> Tensor:
    """Return object and target (B, 2, 4), xyz [m] and confidence, over all cameras.

    Cameras that are equally sure are averaged; else the surer one counts.
    """
    xyz = torch.stack([seen.xyz[:, :2] for seen in points.values()])  # (C, B, 2, 3)
    confidence = torch.stack([seen.confidence[:, :2] for seen in points.values()])
    sure = confidence.clamp(min=1e-3) ** 8
    weight = sure / sure.sum(0)
    best = confidence.amax(0)
    return torch.cat([(xyz * weight[..., None]).sum(0), best[..., None]], -1)


def _describe(xyz: Tensor, confidence: Tensor, tcp: Tensor, rotation: Tensor) -> Tensor:
    """Features (B, 16) of a point: from the base, from the tcp, in the hand's axes, finely near.

    What is not seen has no position: everything is scaled by the confidence.
    """
    relative = xyz - tcp
    in_hand = (relative[:, None] @ rotation).squeeze(1)
    features = torch.cat(
        [xyz * 5, relative * 5, in_hand * 5, torch.tanh(in_hand * 40), torch.tanh(relative * 40)],
        -1,
    )
    return torch.cat([features * confidence[:, None], confidence[:, None]], -1)


def _imu_width(config: PolicyConfig) -> int:
    return 32 * (((config.imu_window - 5) // 2 + 1 - 3) // 2 + 1)


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
