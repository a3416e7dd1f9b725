"""The policy: encoders, fusion, head.

Data flow when an instruction comes: words -> language slots and question slots; front image ->
regions; both -> grounding, which says what the eyes are to look for (`queries`).

Data flow of every observation: images and queries -> sightings (where the object and the target
are, seen by each camera) -> points in the base frame -> tokens, with joint state, IMU window,
language slots and the anchor (where things were when the instruction came) -> fusion -> action.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vla_ros.policy.configuration import CAMERAS, MODALITIES, PolicyConfig
from vla_ros.policy.encoders import CloudBatch, PointEncoder, find_imu_encoder
from vla_ros.policy.fusion import Fused, Stream, find_fusion
from vla_ros.policy.fusion.streams import join
from vla_ros.policy.grounding import Answer, Grounder, SeenThings, Shown
from vla_ros.policy.heads import Action, Prefix, find_head
from vla_ros.policy.hidden_units import resize
from vla_ros.policy.kinematics import ForwardKinematics
from vla_ros.policy.language import SLOTS, LanguageSlots
from vla_ros.policy.places import Points, describe_point
from vla_ros.policy.regions import RegionProposer, Regions
from vla_ros.policy.vision import KeypointEncoder, Sighting

#: What each camera is asked for. The gripper's own image tells how far the camera's pose is off.
SOUGHT = {"front": ("object", "target", "gripper"), "wrist": ("object", "target")}


#: Nothing farther than this from the mean of the training data is believed [standard deviations].
STATE_LIMIT = 6.0


class Context(NamedTuple):
    """What a head decides from.

    Attributes:
        fused: What the fusion makes of everything.
        state: Token of the joint state (B, width).
        command: Positions in force (B, n_joints) [rad].
    """

    fused: Fused
    state: Tensor
    command: Tensor


class Inputs(NamedTuple):
    """One batch of observations.

    Attributes:
        rgb: Per camera (B, H, W, 3), 0 to 255.
        depth: Per camera (B, H, W) [m], 0 = hole.
        imu: (B, T, 6) gyro [rad/s] and accelerometer [m/s^2].
        state: (B, 3 n) joint positions [rad], velocities [rad/s], lead of the command in force
            over the positions [rad].
        slots: (B, 4, W) what the instruction says.
        queries: (B, 2, W) what the eyes are asked for: object and target.
        anchor: (B, 2, 4) xyz [m] and confidence of object and target at the start.
        present: (B, 5), 1 for each of `MODALITIES` that is there.
        cloud: What the depth encoder `points` reads; None if there is nothing to be read.
        prefix: How the chunk begins; None for heads that take none, or to decide anew.
    """

    rgb: tuple[Tensor, Tensor]
    depth: tuple[Tensor, Tensor]
    imu: Tensor
    state: Tensor
    slots: Tensor
    queries: Tensor
    anchor: Tensor
    present: Tensor
    cloud: CloudBatch | None = None
    prefix: Prefix | None = None


class Grounded(NamedTuple):
    """What an instruction means in a scene.

    Attributes:
        slots: What the instruction says (B, 4, W), object and target as they look here.
        queries: What the eyes are asked for (B, 2, W).
        answer: Which regions are meant, and how well the words fit the scene.
        things: The regions.
    """

    slots: Tensor
    queries: Tensor
    answer: Answer
    things: SeenThings


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
        self.vision = nn.ModuleDict({name: KeypointEncoder(config, name) for name in CAMERAS})
        self.regions = RegionProposer(config.vision_width)
        self.grounder = Grounder(config)
        self.gripper_query = nn.Parameter(torch.randn(1, 1, width) * 0.3)
        self.place_embed = nn.ModuleDict(
            {f"{where}_{what}": _mlp(16, width) for where, what in self.places()}
        )
        self.state_embed = _mlp(3 * n + 9, width)
        self.imu_embed = find_imu_encoder(config.imu_encoder)(config)
        self.cloud = PointEncoder(width) if config.depth_encoder == "points" else None
        self.slot_type = nn.Parameter(torch.randn(len(SLOTS), width) * 0.1)
        fusion = find_fusion(config.fusion)
        self.fusion = fusion(width, config.heads, config.layers, config.feedforward)
        self.head = find_head(config.head).from_config(config)
        for name in CAMERAS:
            mount = torch.tensor(config.cameras[name].mount, dtype=torch.float32)
            self.register_buffer(f"{name}_mount", mount, persistent=False)  # on the GPU from start
        self.register_buffer("imu_mean", torch.zeros(6))
        self.register_buffer("imu_std", torch.ones(6))
        self.register_buffer("state_mean", torch.zeros(3 * n))
        self.register_buffer("state_std", torch.ones(3 * n))
        if config.pruned:
            resize(self, config.pruned)

    @staticmethod
    def places() -> list[tuple[str, str]]:
        """Every (source, thing) whose position becomes a token, in the tokens' order."""
        places = [(camera, what) for camera in CAMERAS for what in SOUGHT[camera]]
        return [*places, ("anchor", "object"), ("anchor", "target")]

    def ground(
        self, words: Tensor, mask: Tensor, things: SeenThings, shown: Shown | None = None
    ) -> Grounded:
        """Return what an instruction means among the things that are seen.

        Args:
            words: Token features (B, L, F).
            mask: (B, L), 1 for a token.
            things: From `scan`.
            shown: What demonstrations of it acted on.
        """
        slots = self.language(words, mask)
        questions = self.grounder.read(words, mask)
        answer: Answer = self.grounder(questions, things, shown)
        looks = self.grounder.appearances(things.attributes)
        by_pointer = self.grounder.reasons(questions) > 0
        if shown is not None:
            not_found = answer.score <= 0  # what words find by themselves needs no demonstration
            by_pointer = by_pointer | ((shown.mask.amax(1) > 0) & not_found)
        queries = self.grounder.asked(slots[:, 1:3], answer.pointers, looks, by_pointer)
        slots = torch.cat([slots[:, :1], queries, slots[:, 3:]], 1)
        return Grounded(slots, queries, answer, things)

    def scan(self, rgb: Tensor, depth: Tensor, present: Tensor) -> SeenThings:
        """Return the things that the front camera sees.

        Args:
            rgb: (B, H, W, 3), 0 to 255.
            depth: (B, H, W) [m], 0 = hole.
            present: (B, 5), 1 for each of `MODALITIES` that is there.
        """
        rotation, origin = self.camera_pose("front", depth.flatten(1))
        features, cell_depth = self.map_of(0, rgb, depth, present, (rotation, origin))
        return self.propose(features, cell_depth, present)

    def propose(self, features: Tensor, cell_depth: Tensor, present: Tensor) -> SeenThings:
        """Return the things in the maps of the front camera; none if it is missing."""
        encoder = self.vision["front"]
        assert isinstance(encoder, KeypointEncoder)
        centres, embeddings = self.regions.maps(features, cell_depth)
        found: Regions = self.regions(centres, embeddings, encoder.estimates(features, cell_depth))
        rotation, origin = self.camera_pose("front", present)
        return SeenThings(
            embedding=found.embedding,
            xyz=encoder.point(found.estimate) @ rotation.transpose(1, 2) + origin[:, None],
            presence=found.presence * present[:, :1],
            pixel=found.estimate[..., :2],
            attributes=self.regions.describe(found.embedding).detach(),
        )

    def look(self, inputs: Inputs) -> dict[str, Sighting]:
        """Return each camera's sightings of object and target, and of the gripper by `front`."""
        sightings = {}
        for index, name in enumerate(CAMERAS):
            wanted = inputs.queries
            if "gripper" in SOUGHT[name]:
                gripper = self.gripper_query.expand(wanted.shape[0], -1, -1)
                wanted = torch.cat([wanted, gripper], 1)
            sightings[name] = self.see(inputs, index, wanted)
        return sightings

    def see(self, inputs: Inputs, index: int, queries: Tensor) -> Sighting:
        """Return one camera's sightings of queries (B, K, width)."""
        name = CAMERAS[index]
        pose = self.camera_pose(name, inputs.state)
        features, depth = self.map_of(
            index, inputs.rgb[index], inputs.depth[index], inputs.present, pose
        )
        sighting: Sighting = self.vision[name](features, depth, queries)
        return sighting

    def map_of(
        self, index: int, rgb: Tensor, depth: Tensor, present: Tensor, pose: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return one camera's features and depth by cell; masked depth is unknown."""
        with_depth = present[:, MODALITIES.index(f"depth_{CAMERAS[index]}"), None, None]
        encoder = self.vision[CAMERAS[index]]
        assert isinstance(encoder, KeypointEncoder)
        return encoder.features(rgb, depth * with_depth, pose[0][:, 2], pose[1][:, 2])

    def camera_pose(self, name: str, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return rotation (B, 3, 3) and position (B, 3) of T_base_optical as in the contract."""
        mount: Tensor = getattr(self, f"{name}_mount")
        if not self.config.cameras[name].on_hand:
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
        told = () if inputs.prefix is None else (inputs.prefix,)
        action: Action = self.head(*self.fuse(inputs, slots, points), *told)
        return action

    def fuse(self, inputs: Inputs, slots: Tensor, points: dict[str, Points]) -> Context:
        """Mix language slots, points, joints and IMU: everything between eyes and head."""
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
                feature = describe_point(
                    seen.xyz[:, index], seen.confidence[:, index], tcp, rotation
                )
                tokens.append(self.place_embed[f"{source}_{what}"](feature))
            there = always
            if source != "anchor":
                there = inputs.present[:, MODALITIES.index(source), None]
            name = "memory" if source == "anchor" else source
            streams[name] = Stream(torch.stack(tokens, 1), there.expand(-1, len(tokens)))
        if self.cloud is not None and inputs.cloud is not None:
            needed = [MODALITIES.index(name) for name in ("front", "depth_front")]
            measured = inputs.present[:, needed].amin(1, keepdim=True)
            streams["cloud"] = self.cloud(inputs.cloud, measured)
            streams["front"] = join(streams, ("front", "cloud"))
        standard = (inputs.state - self.state_mean) / self.state_std
        standard = standard.clamp(-STATE_LIMIT, STATE_LIMIT)
        hand = torch.cat([tcp * 5, rotation[:, :, 0], rotation[:, :, 2]], -1)
        state_token = self.state_embed(torch.cat([standard, hand], -1))
        imu = (inputs.imu - self.imu_mean) / self.imu_std
        streams["state"] = Stream(state_token[:, None], always)
        felt = inputs.present[:, MODALITIES.index("imu"), None]
        streams["imu"] = self.imu_embed(imu, felt)
        fused = self.fusion(streams)
        lead = standard[:, 2 * n :] * self.state_std[2 * n :] + self.state_mean[2 * n :]
        return Context(fused, state_token, inputs.state[:, :n] + lead)

    def forward(self, inputs: Inputs) -> tuple[Action, dict[str, Points], dict[str, Sighting]]:
        """Return the action, and where each camera saw what it was asked for."""
        sightings = self.look(inputs)
        points = self.to_base(sightings, inputs)
        return self.act(inputs, inputs.slots, points), points, sightings


def _mlp(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
