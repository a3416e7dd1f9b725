"""Which things on the table an instruction means, and whether they are there at all.

Data flow: token features -> question slots; regions -> tokens that say what and where; both ->
fusion -> one decision token, whose pointers choose among the regions. Beside that, a contrastive
head (CLIP; Radford et al. 2021) compares what is asked for with every region by itself, and its
score, fitted to be a chance, says whether the scene has it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from vla_ros.policy.configuration import PolicyConfig
from vla_ros.policy.fusion import STREAMS, Stream, find_fusion
from vla_ros.policy.language import LanguageSlots
from vla_ros.policy.regions import ATTRIBUTES, COLOUR_CLASSES, EMBEDDING, KIND_CLASSES
from vla_ros.policy.relations import RelationPointer, pairs_of

QUESTIONS = 6  # slots that a question is read into
CONTRAST = 64  # width of the space in which words and regions are compared
#: Demonstrations that a prompt holds at most.
DEMONSTRATIONS = 4
#: Scale and offset of the score are learned in this unit: in small steps they would never arrive.
CALIBRATION = 20.0
#: A pointer below this chooses nothing, and the words' own slots are asked for.
SURE = 0.5


class SeenThings(NamedTuple):
    """K regions in the base frame.

    `embedding` (B, K, EMBEDDING), `xyz` (B, K, 3) [m], `presence` (B, K) in 0 to 1, `pixel`
    (B, K, 2) [px] in the front image, and `attributes` (B, K, ATTRIBUTES), see `RegionProposer`.
    """

    embedding: Tensor
    xyz: Tensor
    presence: Tensor
    pixel: Tensor
    attributes: Tensor


class Shown(NamedTuple):
    """What demonstrations of the same instruction acted on, D at most.

    `embedding` (B, D, EMBEDDING) of the region, `mask` (B, D), 1 for one that is there.
    """

    embedding: Tensor
    mask: Tensor


class Answer(NamedTuple):
    """What the words mean among K regions.

    Attributes:
        pointers: Logits of object and target (B, 2, K + 1), the last one for "none of them".
        match: Logit that the words are about this scene (B,).
        similarity: Of object and target with each region (B, 2, K), cosine in -1 to 1.
        score: Logit that what is asked for is there (B,).
        decision: What the fusion decided (B, W).
    """

    pointers: Tensor
    match: Tensor
    similarity: Tensor
    score: Tensor
    decision: Tensor


class Grounder(nn.Module):
    """Reads a question, relates the regions to it, points."""

    def __init__(self, config: PolicyConfig) -> None:
        """Build reader, fusion and heads."""
        super().__init__()
        width = config.width
        self.read = LanguageSlots(config.language_features, width, config.heads, slots=QUESTIONS)
        self.what = nn.Linear(EMBEDDING + ATTRIBUTES, width)
        self.where = nn.Sequential(nn.Linear(9, width), nn.GELU(), nn.Linear(width, width))
        self.shown = nn.Linear(EMBEDDING, width)
        self.unseen = nn.Parameter(torch.randn(EMBEDDING) * 0.1)
        self.body = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        fusion = find_fusion(config.fusion)
        self.fusion = fusion(width, config.heads, config.layers, config.feedforward)
        self.point = RelationPointer(width)
        self.nothing = nn.Linear(width, 2)
        self.match = nn.Linear(width, 1)
        self.words = nn.Linear(2 * width, 2 * CONTRAST)
        self.look = nn.Sequential(
            nn.Linear(EMBEDDING, EMBEDDING), nn.GELU(), nn.Linear(EMBEDDING, CONTRAST)
        )
        self.temperature = nn.Parameter(torch.tensor(2.5))  # log of the inverse
        self.calibration = nn.Parameter(torch.tensor([0.5, -0.25]))  # times CALIBRATION
        #: What a hidden region looks like, from the decision and where it is (masked modelling).
        self.recalled = nn.Sequential(
            nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, COLOUR_CLASSES + KIND_CLASSES)
        )
        #: Whether a sentence has a target at all.
        self.has_target = nn.Linear(2 * width, 1)
        #: Whether a sentence names the object by reasoning or an unknown word, not by its looks.
        self.refers = nn.Linear(QUESTIONS * width, 1)
        #: What the eyes are asked for a thing of each colour and kind; the two add up.
        self.appearance = nn.Linear(COLOUR_CLASSES + KIND_CLASSES, width, bias=False)

    def tokens(self, things: SeenThings) -> Stream:
        """Return a token per region."""
        x, y = things.xyz[..., 0], things.xyz[..., 1]
        far = torch.sqrt(x * x + y * y + 1e-6)
        place = torch.stack(
            [
                x * 5,
                y * 5,
                things.xyz[..., 2] * 20,
                far * 5,
                torch.atan2(y, x),
                torch.sin(x * 40),
                torch.cos(x * 40),
                torch.sin(y * 40),
                torch.cos(y * 40),
            ],
            -1,
        )
        there = (things.presence > 0).to(place.dtype)
        looks = torch.cat([things.embedding, things.attributes], -1)
        tokens = self.what(looks) + self.where(place)
        return Stream(tokens * there[..., None], there)

    def forward(self, questions: Tensor, things: SeenThings, shown: Shown | None = None) -> Answer:
        """Return what the question slots (B, 6, W) mean among the regions.

        Args:
            questions: Of the instruction.
            things: Among which it means something.
            shown: What demonstrations acted on: a prompt, which changes no weight (Flamingo).
        """
        regions = self.tokens(things)
        batch = questions.shape[0]  # len() would fix it in the exported graph
        nothing = Stream(questions[:, :1] * 0, torch.zeros_like(questions[:, :1, 0]))
        always = torch.ones_like(questions[..., 0])
        streams = dict.fromkeys(STREAMS, nothing) | {
            "language": Stream(questions, always),
            "front": regions,
            "memory": nothing if shown is None else self._prompt(shown),
            "state": Stream(self.body.expand(batch, -1, -1), always[:, :1]),
        }
        fused = self.fusion(streams)
        decision = (fused.tokens * fused.weight[..., None]).sum(1)
        pairs = pairs_of(things.xyz, things.attributes, COLOUR_CLASSES)
        pointers = self.point(decision, regions.tokens, pairs, regions.mask)
        pointers = pointers.masked_fill(regions.mask[:, None] < 0.5, -1e4)
        pointers = torch.cat([pointers, self.nothing(decision)[..., None]], -1)
        similarity = self.compare(questions, things)
        return Answer(
            pointers=pointers,
            match=self.match(decision).squeeze(-1),
            similarity=similarity,
            score=self.score(questions, similarity),
            decision=decision,
        )

    def _prompt(self, shown: Shown) -> Stream:
        return Stream(self.shown(shown.embedding) * shown.mask[..., None], shown.mask)

    def compare(self, questions: Tensor, things: SeenThings) -> Tensor:
        """Return the cosine (B, 2, K) of object and target with every region; -1 for none."""
        there = (things.presence > 0)[:, None]
        likeness = self.phrases(questions) @ self.looks(things.embedding).transpose(1, 2)
        return torch.where(there, likeness, -torch.ones_like(likeness))

    def phrases(self, questions: Tensor) -> Tensor:
        """Return unit vectors of what object and target are called (B, 2, CONTRAST)."""
        vectors = self.words(questions[:, :2].flatten(1)).view(-1, 2, CONTRAST)
        return functional.normalize(vectors, dim=-1)

    def looks(self, embedding: Tensor) -> Tensor:
        """Return unit vectors of what regions look like (..., CONTRAST)."""
        return functional.normalize(torch.as_tensor(self.look(embedding)), dim=-1)

    def recall(
        self, decision: Tensor, things: SeenThings, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits of the colour and kind of one hidden region per row (B, 1)."""
        tokens = self.tokens(things).tokens
        place = tokens.gather(1, hidden[..., None].expand(-1, -1, tokens.shape[-1])).squeeze(1)
        both = self.recalled(torch.cat([decision, place], -1))
        return both[:, :COLOUR_CLASSES], both[:, COLOUR_CLASSES:]

    def wants_target(self, questions: Tensor) -> Tensor:
        """Return the logit that the sentence names a target (B,)."""
        logit: Tensor = self.has_target(questions[:, :2].flatten(1))
        return logit.squeeze(-1)

    def reasons(self, questions: Tensor) -> Tensor:
        """Return the logit (B,) that it names the object by reasoning or by an unknown word."""
        logit: Tensor = self.refers(questions.flatten(1))
        return logit.squeeze(-1)

    def score(self, questions: Tensor, similarity: Tensor) -> Tensor:
        """Return the logit (B,) that everything asked for is there."""
        best = similarity.amax(-1)  # (B, 2)
        needed = torch.sigmoid(self.wants_target(questions)) > 0.5
        weaker = torch.where(needed, torch.minimum(best[:, 0], best[:, 1]), best[:, 0])
        scale, offset = (CALIBRATION * self.calibration).unbind()
        return scale * weaker + offset

    def asked(self, slots: Tensor, pointers: Tensor, looks: Tensor, by_pointer: Tensor) -> Tensor:
        """Return what the eyes are asked for (B, 2, W): how the chosen regions look.

        What is named by colour and shape is asked for in these words: the eyes add the two up, and
        find pairs that training never showed more often than the pointers do.

        Args:
            slots: What the words call object and target (B, 2, W), asked for where nothing is
                chosen.
            pointers: (B, 2, K + 1).
            looks: Of the regions, from `appearances` (B, K, W).
            by_pointer: (B,), true where reasoning or demonstrations tell what is meant.
        """
        chances = torch.softmax(pointers, -1)[..., :-1]
        sure, chosen = chances.max(-1)  # (B, 2)
        index = chosen[..., None].expand(-1, -1, looks.shape[-1])
        pointed = (sure > SURE) & by_pointer[:, None]
        return torch.where(pointed[..., None], looks.gather(1, index), slots)

    def appearances(self, attributes: Tensor) -> Tensor:
        """Return what to ask the eyes for to see regions again (B, K, W)."""
        looks: Tensor = self.appearance(attributes[..., :-1])
        return looks
