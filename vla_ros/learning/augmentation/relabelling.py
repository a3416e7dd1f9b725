"""Episodes again, told in other words."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from vla_ros.data.episode import Episode, read_episode
from vla_ros.data.tools.derivation import Derived
from vla_ros.data.tools.episode_copy import Change, copy_episode
from vla_ros.data.tools.instructions import rewrite_instruction
from vla_ros.learning.augmentation.meaning import meaning_of
from vla_ros.learning.augmentation.paraphrase import Paraphraser, paraphrases


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelling:
    """Copies an episode once per paraphrase; call it with the episode and the new recording.

    Attributes:
        paraphraser: Proposes the words.
        variants: How many are wanted per episode.
        seed: Of every random choice.
    """

    paraphraser: Paraphraser
    variants: int
    seed: int = 0

    def __call__(self, source: Path, recording: Path) -> Derived:
        """Write the copies.

        Raises:
            UserError: if the episode's instruction cannot be read, or said in other words.
            BackendFailed: if a language model gave no answer.
        """
        episode = read_episode(source)
        text = episode.instruction
        seed = zlib.crc32(f"{self.seed} {episode.number} {text}".encode())
        found = paraphrases(text, meaning_of(episode), self.paraphraser, self.variants, seed)
        names = []
        for index, other in enumerate(found.texts):
            number = episode.number * self.variants + index
            names.append(copy_episode(source, recording, number, told(other, text)).name)
        notes = []
        if len(names) < self.variants:
            notes.append(
                f"{episode.name}: {len(names)} of {self.variants} other ways to say {text!r} "
                f"were found; {len(found.refused)} proposals meant something else"
            )
        return Derived(episodes=tuple(names), notes=tuple(notes))


def told(text: str, original: str) -> Change:
    """Return the change that tells an episode's robot `text`, and remembers what it was told."""

    def describe(episode: Episode) -> Episode:
        return replace(
            episode, instruction=text, extra={**episode.extra, "told_originally": original}
        )

    return Change(description=describe, message=rewrite_instruction(lambda _: text))
