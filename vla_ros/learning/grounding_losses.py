"""What trains the proposals and the grounding: pointing, matching, contrast, masked modelling."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vla_ros.learning.batch_types import AskedBatch, ImageBatch, TableBatch
from vla_ros.learning.objectives import in_view, project
from vla_ros.learning.questions import ANY
from vla_ros.learning.training_config import Objectives
from vla_ros.policy.grounding import DEMONSTRATIONS, Answer, Grounder, SeenThings, Shown
from vla_ros.policy.model import Policy
from vla_ros.policy.vision import KeypointEncoder

#: How far the centre of a proposal may be from that of the thing that it is of [px].
NEAR_PX = 6.0
#: How far a thing's surface may stand before its centre [m].
SLACK_M = 0.035
#: Shares of the questions that come with demonstrations: novel words, and all others.
NOVEL_SHOWN, KNOWN_SHOWN = 0.9, 0.25
#: Of known words that come with demonstrations, the share that is shown anything at all: what the
#: words say is right then.
MISLED = 0.5
SCORE_WEIGHT = 0.3
HALF_CM = 100.0  # half sizes are regressed in [cm]

#: Each term with its weight, 0 where it is only reported.
Terms = dict[str, tuple[Tensor, float]]


class Matched(NamedTuple):
    """Which thing each proposal is of: `thing` (B, K), -1 for none; `visible` (B, M)."""

    thing: Tensor
    visible: Tensor


def match(policy: Policy, batch: ImageBatch, things: SeenThings) -> Matched:
    """Assign proposals to true things by where their centres are in the front image."""
    camera, pose = policy.config.cameras["front"], batch.pose[0]
    local = (batch.table.xyz - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    exists = (batch.table.kind >= 0).float()
    local = torch.where(exists[..., None] > 0, local, torch.ones_like(local))
    slack = torch.full_like(exists, SLACK_M)
    visible = in_view(camera, local, batch.depth[0], slack) * exists
    apart = torch.cdist(things.pixel.float(), project(camera, local))  # (B, K, M)
    apart = apart + (1 - exists[:, None]) * 1e4
    nearest, thing = apart.min(-1)
    known = (nearest <= NEAR_PX) & (things.presence > 0)
    return Matched(torch.where(known, thing, torch.full_like(thing, -1)), visible)


def proposal_loss(
    policy: Policy, batch: ImageBatch, centres: Tensor, embeddings: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of centres, of colours and kinds, and of sizes.

    Args:
        policy: For its camera and heads.
        batch: With what stands on the tables.
        centres: Logits (B, 1, H, W).
        embeddings: (B, EMBEDDING, H, W).
    """
    camera, pose = policy.config.cameras["front"], batch.pose[0]
    table = batch.table
    local = (table.xyz - pose[:, None, :3, 3]) @ pose[:, :3, :3]
    exists = (table.kind >= 0).float()
    local = torch.where(exists[..., None] > 0, local, torch.ones_like(local))
    visible = in_view(camera, local, batch.depth[0], torch.full_like(exists, SLACK_M)) * exists
    size = KeypointEncoder.CELLS
    cells = (project(camera, local) + 0.5) * (size / camera.width) - 0.5
    axis = torch.arange(size, dtype=torch.float32, device=cells.device)
    u = torch.exp(-((axis - cells[..., :1]) ** 2) / 0.8)
    v = torch.exp(-((axis - cells[..., 1:]) ** 2) / 0.8)
    heat = (v[..., :, None] * u[..., None, :] * visible[..., None, None]).amax(1)  # (B, H, W)
    logits = centres[:, 0].float()
    focus = (heat - torch.sigmoid(logits)).abs() ** 2  # penalty-reduced focal loss, softened
    centre = functional.binary_cross_entropy_with_logits(logits, heat, reduction="none")
    centre = (centre * focus).sum() / visible.sum().clamp(min=1.0)
    column, row = cells.round().long().clamp(0, size - 1).unbind(-1)
    rows = torch.arange(len(cells), device=cells.device)[:, None]
    seen = visible > 0
    there = embeddings.float().permute(0, 2, 3, 1)[rows, row, column][seen]
    if not len(there):
        return centre, centre * 0, centre * 0
    colour, kind, half = policy.regions.attributes(there)
    named = functional.cross_entropy(colour, table.colour[seen])
    named = named + functional.cross_entropy(kind, table.kind[seen])
    solid = table.half[seen] > 0
    error = functional.smooth_l1_loss(
        half[solid], table.half[seen][solid] * HALF_CM, beta=0.05, reduction="sum"
    )
    return centre, named, error / solid.sum().clamp(min=1)


def grounding_terms(
    policy: Policy,
    objectives: Objectives,
    questions: Tensor,
    things: SeenThings,
    matched: Matched,
    asked: AskedBatch,
    table: TableBatch,
) -> Terms:
    """Return the terms of questions about scenes.

    Args:
        policy: Whose grounder answers.
        objectives: What counts.
        questions: Slots of the B Q sentences (B Q, S, W).
        things: Proposals in B scenes.
        matched: What they are of.
        asked: What is right.
        table: What there is.
    """
    per_scene = asked.answers.shape[1]
    repeated = SeenThings(*(value.repeat_interleave(per_scene, 0) for value in things))
    grounder: Grounder = policy.grounder
    shown = demonstrations(things, matched, asked, table)
    answer: Answer = grounder(questions, repeated, shown)
    of = matched.thing.repeat_interleave(per_scene, 0)  # (B Q, K)
    right = torch.stack([_hits(asked.answers, of), _hits(asked.target, of)], 1)  # (B Q, 2, K)
    readable = asked.readable.flatten() > 0
    present = asked.present.flatten()
    loss, accuracy = pointing_loss(answer.pointers, right, readable)
    wants = (asked.described[..., 1, 0] != ANY).flatten().float()
    clear = readable & _clear(asked, right.any(-1), wants)
    matching = _mean(_bce(answer.match, present), clear)
    contrast = contrast_loss(grounder, questions, things, matched, asked, table)
    wanted = _mean(_bce(grounder.wants_target(questions), wants), readable)
    score = _mean(_bce(answer.score, present), clear)
    told = (asked.told[..., 0] >= 0) | (asked.novel > 0)
    reasons = _mean(_bce(grounder.reasons(questions), told.flatten().float()), readable)
    terms: Terms = {
        "pointing": (loss, objectives.pointing),
        "pointing_accuracy": (accuracy, 0.0),
        "matching": (matching, objectives.matching),
        "contrast": (contrast, objectives.contrast),
        "wants_target": (wanted, 0.1),
        "reasons": (reasons, 0.1),
        "score": (score, SCORE_WEIGHT),
    }
    if objectives.masked > 0:
        masked = masked_loss(policy, questions, repeated, of, table, per_scene)
        terms["masked"] = (masked, objectives.masked)
    return terms


def _clear(asked: AskedBatch, found: Tensor, wants: Tensor) -> Tensor:
    """Return (B Q,), whether a question is an example of what is there, or of what is not.

    What is there and out of sight is neither, nor is what no word tells.
    """
    present, novel = asked.present.flatten() > 0, asked.novel.flatten() > 0
    seen = found[:, 0] & (found[:, 1] | (wants < 0.5))
    return ~novel & (~present | seen)


def demonstrations(
    things: SeenThings, matched: Matched, asked: AskedBatch, table: TableBatch
) -> Shown:
    """Return what demonstrations acted on: things in other scenes that are called alike.

    Most questions get none; novel words mostly get some. Words that are known by themselves are
    now and then shown things that are not what they say.
    """
    of = matched.thing
    colour = table.colour.gather(1, of.clamp(min=0)).masked_fill(of < 0, -1)
    kind = table.kind.gather(1, of.clamp(min=0)).masked_fill(of < 0, -1)
    described = asked.described[:, :, 0].flatten(0, 1)  # (N, 2)
    fits = (described[:, :1] == colour.flatten()) & (described[:, 1:] == kind.flatten())
    scenes, per_scene = asked.answers.shape[:2]
    scene = torch.arange(scenes, device=of.device)
    own = scene.repeat_interleave(per_scene)[:, None] == scene.repeat_interleave(of.shape[1])
    novel = asked.novel.flatten() > 0
    misled = ~novel & (torch.rand(novel.shape, device=of.device) < MISLED)
    fits |= misled[:, None] & (of.flatten() >= 0)
    fits &= ~own
    chance = torch.where(novel, NOVEL_SHOWN, KNOWN_SHOWN)
    given = torch.rand_like(chance) < chance
    order = torch.rand(fits.shape, device=of.device) * fits
    weight, index = order.topk(DEMONSTRATIONS, dim=1)
    count = torch.randint(1, DEMONSTRATIONS + 1, (len(fits), 1), device=of.device)
    place = torch.arange(DEMONSTRATIONS, device=of.device)
    mask = (weight > 0) & given[:, None] & (place < count)
    embedding = things.embedding.flatten(0, 1)[index]
    return Shown(embedding.detach(), mask.to(embedding.dtype))


def pointing_loss(pointers: Tensor, right: Tensor, readable: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of pointers, and how often the object's is right.

    Args:
        pointers: Logits (N, 2, K + 1), the last one for "none of them".
        right: (N, 2, K), true for each region that is right; where none is, "none" is.
        readable: (N,).
    """
    label = torch.cat([right, ~right.any(-1, keepdim=True)], -1)
    chances = torch.log_softmax(pointers, -1).masked_fill(~label, -1e4)
    loss = _mean(-torch.logsumexp(chances, -1).sum(1), readable)
    best = pointers[:, 0].argmax(-1, keepdim=True)
    hit = label[:, 0].gather(1, best).squeeze(1).float()
    return loss, _mean(hit, readable)


def contrast_loss(
    grounder: Grounder,
    questions: Tensor,
    things: SeenThings,
    matched: Matched,
    asked: AskedBatch,
    table: TableBatch,
) -> Tensor:
    """Return the symmetric contrastive loss between phrases and all regions of the batch.

    A phrase that names colour and kind fits every region that has them, in whatever scene. Of one
    that takes reasoning, only the score of its own scene is trained.
    """
    phrases = grounder.phrases(questions)  # (N, 2, C)
    looks = grounder.looks(things.embedding).flatten(0, 1)  # (B K, C)
    scale = grounder.temperature.clamp(max=4.6).exp()
    of = matched.thing
    colour = table.colour.gather(1, of.clamp(min=0)).masked_fill(of < 0, -1).flatten()
    kind = table.kind.gather(1, of.clamp(min=0)).masked_fill(of < 0, -1).flatten()
    usable = ((things.presence > 0) & (of >= 0)).flatten()
    described = asked.described.flatten(0, 1)  # (N, 2, 2)
    losses = []
    for side in (0, 1):
        logits = scale * phrases[:, side] @ looks.T  # (N, B K)
        named = (described[:, side, 0] >= 0) & (asked.readable.flatten() > 0)
        named &= asked.novel.flatten() < 0.5
        fits = (described[:, side, 0, None] == colour) & (described[:, side, 1, None] == kind)
        rows = logits[named][:, usable]
        losses.append(_multi_positive(rows, fits[named][:, usable]))
        losses.append(_multi_positive(rows.T, fits[named][:, usable].T))
    return torch.stack(losses).mean()


def _multi_positive(logits: Tensor, fits: Tensor) -> Tensor:
    """Return the mean of -log of the share that fits, over the rows in which something does."""
    some = fits.any(1)
    if not bool(some.any()):
        return logits.sum() * 0
    logits, fits = logits[some], fits[some]
    inside = torch.logsumexp(logits.masked_fill(~fits, -1e4), 1)
    return (torch.logsumexp(logits, 1) - inside).mean()


def masked_loss(
    policy: Policy,
    questions: Tensor,
    things: SeenThings,
    of: Tensor,
    table: TableBatch,
    per_scene: int,
) -> Tensor:
    """Hide what one region looks like; return how badly its colour and kind are guessed."""
    known = (of >= 0).float()
    some = known.sum(1) > 0
    hidden = torch.multinomial(known + 1e-6, 1)  # (N, 1)
    grounder: Grounder = policy.grounder
    index = hidden[..., None].expand(-1, -1, things.embedding.shape[-1])
    blank = grounder.unseen.expand(len(of), 1, -1)
    wide = hidden[..., None].expand(-1, -1, things.attributes.shape[-1])
    covered = things._replace(
        embedding=things.embedding.scatter(1, index, blank),
        attributes=things.attributes.scatter(1, wide, torch.zeros_like(things.attributes[:, :1])),
    )
    decision = grounder(questions, covered).decision
    colour, kind = grounder.recall(decision, covered, hidden)
    thing = of.gather(1, hidden).clamp(min=0)
    true_colour, true_kind = (
        value.repeat_interleave(per_scene, 0).gather(1, thing).squeeze(1)
        for value in (table.colour, table.kind)
    )
    loss = functional.cross_entropy(colour, true_colour.clamp(min=0), reduction="none")
    loss = loss + functional.cross_entropy(kind, true_kind.clamp(min=0), reduction="none")
    return _mean(loss, some)


def _hits(things: Tensor, of: Tensor) -> Tensor:
    """Return (B Q, K), whether each region is of one of the things (B, Q, M)."""
    flat = things.flatten(0, 1)
    return (flat.gather(1, of.clamp(min=0)) > 0) & (of >= 0)


def _bce(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def _mean(values: Tensor, keep: Tensor) -> Tensor:
    weight = keep.to(values.dtype)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)
