"""A row's history, for readers: its outer loop round by round, and the updates that were deployed.

Every process of a run repeats its calls (known ones are answered from the journal), so none of this is booked: it is
gathered anew, and written with the row's scores when the row is finished.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.api import JSON, Data, Example, Group, SelfEdit, Updated, UpdateJob
from harness.books.records import encode

SEQUENCES, TEXT = 32, 4000
"""The most training sequences per edit, and characters per text, that are kept."""


class History:
    """One row's history."""

    def __init__(self) -> None:
        self._candidates: dict[str, dict[str, Any]] = {}
        self._updates: list[dict[str, Any]] = []
        self._diagnoses: list[dict[str, Any]] = []
        self._rounds: list[dict[str, Any]] = []
        self._deployed: list[dict[str, Any]] = []

    # --- the outer loop ---

    def proposed(self, groups: Sequence[Group]) -> None:
        for group in groups:
            for edit in group.edits:
                self._candidate(edit)

    def scored(self, name: str, groups: Sequence[Group]) -> None:
        for group in groups:
            for edit, reward in zip(group.edits, group.rewards, strict=True):
                made: dict[str, Any] = {"value": reward.value, "status": reward.status}
                if reward.measures:
                    made["measures"] = encode(reward.measures)
                self._candidate(edit).setdefault("rewards", {})[name] = made

    def learnt(self, slot: str, jobs: Sequence[UpdateJob], results: Sequence[Updated]) -> None:
        for job, done in zip(jobs, results, strict=True):
            edits = [edit.id for edit in job.edits]
            self._updates.append({"slot": slot, "job": job.id, "edits": edits, **_ended(done)})

    def diagnosed(self, name: str, right: int, compared: int) -> None:
        self._diagnoses.append({"name": name, "right": right, "compared": compared})

    def checkpoint(self, index: int, validation: float | None, metrics: JSON) -> None:
        """A round has ended; index -1 is the start, before the first round."""
        self._rounds.append({
            "round": index + 1, "validation": validation, "metrics": encode(metrics),
            "candidates": list(self._candidates.values()), "updates": self._updates, "diagnoses": self._diagnoses,
        })  # fmt: skip
        self._candidates, self._updates, self._diagnoses = {}, [], []

    def _candidate(self, edit: SelfEdit) -> dict[str, Any]:
        if edit.id not in self._candidates:
            text = "\n".join(action.text for action in edit.actions)
            made = {"edit": edit.id, "episode": edit.episode, "status": edit.status, "text": cut(text)}
            self._candidates[edit.id] = {**made, **({"reason": edit.reason} if edit.reason else {})}
        return self._candidates[edit.id]

    # --- deployment ---

    def deployed(
        self, job: UpdateJob, sequences: Mapping[int, Sequence[Data]], log: JSON, done: Updated | None = None
    ) -> None:
        """An update of the measured policy.

        Args:
            sequences: place among the job's edits -> what the task made of that edit.
            done: its outcome; None where only its scores are known.
        """
        self._deployed.append({
            "job": job.id, "start_as": job.start_as, "adapters": len(job.start.adapters), "seed": job.seed,
            "settings": encode(job.settings), "log": encode(log), **(_ended(done) if done else {}),
            "edits": [_learnt(edit, sequences.get(place, ())) for place, edit in enumerate(job.edits)],
        })  # fmt: skip

    def lines(self, chosen: int | None) -> Iterator[dict[str, Any]]:
        """Everything as plain JSON, one object per line; ``chosen`` is the index of the round that was tested."""
        for place, one in enumerate(self._rounds):
            yield {"kind": "round", "chosen": place == chosen, **one}
        loose = (self._candidates, self._updates, self._diagnoses)
        if any(loose):  # of a loop that yields no round, or continues after its last one
            rest = {"candidates": list(self._candidates.values()), "updates": self._updates}
            yield {"kind": "round", "chosen": False, "round": None, "validation": None, "metrics": {}, **rest,
                   "diagnoses": self._diagnoses}  # fmt: skip
        for one in self._deployed:
            yield {"kind": "update", **one}


def _ended(done: Updated) -> dict[str, Any]:
    return {"status": done.status, "log": encode(done.log), **({"reason": done.reason} if done.reason else {})}


def _learnt(edit: SelfEdit, data: Sequence[Data]) -> dict[str, Any]:
    examples = [one for one in data if isinstance(one, Example)]
    others = [type(one).__name__ for one in data if not isinstance(one, Example)]
    made: dict[str, Any] = {"edit": edit.id, "episode": edit.episode}
    if edit.settings:
        made["settings"] = encode(edit.settings)
    if examples:
        kept = [[_prompt(one), cut(one.target), one.weight] for one in examples[:SEQUENCES]]
        made |= {"sequences": kept, "count": len(examples)}
    return made | ({"others": others} if others else {})


def _prompt(one: Example) -> str:
    if isinstance(one.prompt, str):
        return cut(one.prompt)
    return cut("\n".join(f"{role}: {text}" for role, text in one.prompt))


def cut(text: str, most: int = TEXT) -> str:
    """The text cut to ``most`` characters, with the number of those cut off at its end."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most} more characters)"
