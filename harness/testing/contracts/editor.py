"""The rules for editors (:class:`harness.api.Editor`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.api import Completion, EditAsk, Group, Request, SelfEdit
from harness.books.records import encode
from harness.session.service import SessionService
from harness.testing.contracts.base import Contract, permuted, same, survives_json, under_global_seed
from harness.testing.scripted import ScriptedLM

UNUSABLE = ("", "   \n\n", "{", "\x00\x01\x02" * 40, "}{][", "null", "word " * 30_000)
"""What a model may say instead of an edit."""


class EditorContract(Contract):
    """Subclass it, set ``component`` to the editor's class, and run pytest."""

    kind: ClassVar[str] = "editor"
    independent: ClassVar[bool] = True
    """Whether an episode's edits depend on that episode alone; False for an editor that compares its episodes."""

    def asks(self, s: SessionService, n: int = 2) -> list[EditAsk]:
        """An ask for each training episode."""
        teacher = s.roles["teacher"]
        return [EditAsk(episode, teacher, n, s.seed("contract", episode.id)) for episode in s.episodes("train")]

    def propose(self, s: SessionService, asks: Sequence[EditAsk]) -> Sequence[Group]:
        """The editor's edits, proposed through the session as in a run."""
        return s.propose("teacher", asks)

    # --- shape ---

    def test_gives_each_ask_its_own_edits_in_order(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            groups = self.propose(s, self.asks(s))
            edits = [edit for group in groups for edit in group.edits]
            assert edits, "not a single edit for four passages, from a model that writes lists"
            for group in groups:
                wrong = {edit.episode for edit in group.edits} - {group.ask.episode.id}
                assert not wrong, f"the ask about {group.ask.episode.id!r} got edits of {wrong}: keep the order of asks"
            ids = [edit.id for edit in edits]
            assert len(set(ids)) == len(ids), (
                f"two edits have one id: {sorted(i for i in ids if ids.count(i) > 1)[0]!r}"
            )

    def test_never_gives_more_than_was_asked_for(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            asks = [dataclasses.replace(ask, n=1 + index % 3) for index, ask in enumerate(self.asks(s))]
            for group in self.propose(s, asks):
                assert len(group.edits) <= group.ask.n, f"{len(group.edits)} edits where n = {group.ask.n}"

    def test_accepts_an_empty_list_of_asks(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            assert list(self.propose(s, [])) == []

    def test_edits_survive_the_journal(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            survives_json([list(g.edits) for g in self._raw(s, self.asks(s))], "its edits")

    def test_leaves_the_asks_as_they_are(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            asks = self.asks(s)
            before = encode(asks)
            self._raw(s, asks)
            assert encode(asks) == before, "it changed the asks (a context dictionary?): copy before changing"

    # --- determinism ---

    def test_one_seed_gives_the_same_edits(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "once") as s:
            once = under_global_seed(1, lambda: _edits(self._raw(s, self.asks(s))))
        with self._open(tmp_path / "again") as s:
            again = under_global_seed(2, lambda: _edits(self._raw(s, self.asks(s))))
        same(once, again, "the same asks gave different edits")

    def test_another_seed_reaches_the_model(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            asks = self.asks(s)
            once, again = RecordingSession(s), RecordingSession(s)
            self._raw(once, asks)
            self._raw(again, [dataclasses.replace(ask, seed=ask.seed + 1_000_003) for ask in asks])
            shared = set(_sampled(once.asked)) & set(_sampled(again.asked))
            assert not shared, "another ask.seed makes the same sampled requests: derive Request.seed from ask.seed"

    def test_candidates_are_sampled_independently(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            recording = RecordingSession(s)
            self._raw(recording, self.asks(s, n=3))
            drawn = _sampled(recording.asked)
            assert len(set(drawn)) == len(drawn), (
                "one sampled request was made twice, so two candidates are the same text: ask once with n, "
                "or give each its own seed"
            )

    def test_the_order_of_asks_does_not_matter(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "in order") as s:
            groups = self._raw(s, self.asks(s))
        with self._open(tmp_path / "permuted") as s:
            asks, places = permuted(self.asks(s))
            moved = self._raw(s, asks)
        same(_edits(groups), _edits([moved[place] for place in places]), "the edits depend on the order of asks")

    def test_an_ask_alone_gets_the_same_edits_as_among_others(self, tmp_path: Path) -> None:
        if not self.independent:
            return
        with self._open(tmp_path / "together") as s:
            groups = self._raw(s, self.asks(s))
        with self._open(tmp_path / "alone") as s:
            alone = [self._raw(s, [ask])[0] for ask in self.asks(s)]
        same(_edits(groups), _edits(alone), "an ask alone gets other edits (if that is intended: independent = False)")

    # --- what goes wrong ---

    def test_unusable_texts_make_failed_edits_with_a_reason(self, tmp_path: Path) -> None:
        for number, text in enumerate(UNUSABLE):
            with self._open(tmp_path / str(number), ScriptedLM({"": text})) as s:
                for edit in _edits(self._guarded(s, text)):
                    assert edit.status != "error", (
                        f"the model said {text[:20]!r}: that is the method's doing, so the edit is 'failed'"
                    )
                    assert edit.reason or edit.status == "ok", "a failed edit needs a reason"

    def test_a_lost_answer_is_an_error_and_never_an_edit(self, tmp_path: Path) -> None:
        lm = _Down(self.answer)
        with self._open(tmp_path, lm) as s:
            groups = self.propose(s, self.asks(s))
            if lm.asked:
                wrong = [edit for edit in _edits(groups) if edit.status != "error"]
                assert not wrong, (
                    f"the endpoint was down, and edit {wrong[0].id!r} is {wrong[0].status!r}: put the completion into "
                    "SelfEdit.actions, or set status='error' yourself"
                )

    # --- how ---

    def _open(self, folder: Path, lm: Any = None) -> Any:
        return self.session(folder, lm, editor=("editor", self.make()))

    def _raw(self, s: Any, asks: Sequence[EditAsk]) -> list[Group]:
        """What the editor itself returns, without the journal."""
        editor = self.make()
        return [Group(ask, tuple(edits)) for ask, edits in zip(asks, editor.propose(asks, s), strict=True)]

    def _guarded(self, s: SessionService, text: str) -> list[Group]:
        try:
            return self._raw(s, self.asks(s, n=1))
        except Exception as error:
            raise AssertionError(
                f"the model said {text[:20]!r} and the editor raised {type(error).__name__}: {error}; "
                "return an edit with status='failed' and the reason"
            ) from error


class RecordingSession:
    """A session that records every request to a model, including those that the journal answers."""

    def __init__(self, session: SessionService) -> None:
        self._session = session
        self.asked: list[Request] = []

    def lm(self, who: Any, /) -> Any:
        return _RecordingLM(self._session.lm(who), self.asked)

    def generate(self, requests: Sequence[Request], /) -> Any:
        self.asked.extend(requests)
        return self._session.generate(requests)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class _RecordingLM:
    def __init__(self, lm: Any, asked: list[Request]) -> None:
        self._lm = lm
        self._asked = asked

    def generate(self, asks: Sequence[Request], /) -> Any:
        self._asked.extend(asks)
        return self._lm.generate(asks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lm, name)


class _Down(ScriptedLM):
    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        rows = super().generate(asks)
        lost: dict[str, Any] = {"text": "", "tokens": (), "logprobs": None, "finish": "error", "reason": "HTTP 503"}
        return [[dataclasses.replace(one, **lost) for one in row] for row in rows]


def _edits(groups: Sequence[Group]) -> list[SelfEdit]:
    return [edit for group in groups for edit in group.edits]


def _sampled(asked: Sequence[Request]) -> list[tuple[Any, int]]:
    return [(str(request.prompt), request.seed) for request in asked if request.temperature > 0]
