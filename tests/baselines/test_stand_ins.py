"""Controls that replace an editor's edits: with another document's, or with the passage repeated to as many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_baselines.other_edits import OtherEdits
from harness_baselines.token_matched import PassageRepeatTokens
from harness_seal.editors import Prompted, PromptedSettings
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import EditAsk, Editor, Example, Request, SelfEdit, UpdateJob
from harness.errors import UsageError
from harness.session.service import SessionService
from harness.testing import ScriptedLM, open_session
from tests.baselines.test_baselines import opened

WRITES = Prompted(PromptedSettings())


def session(folder: Path, editor: Any, answer: Any) -> SessionService:
    """Five pages of three words each, ``Moon <n>.`` under ``Page <n>``."""
    first = opened(folder, editor)
    first.journal.close()
    lm = ScriptedLM(answer)
    return open_session(
        folder / "mine", first.task, {"teacher": lm}, {"editor": ("editor", editor)}, roles={"student": "@teacher"}
    )


def proposed(s: SessionService, count: int, n: int = 1) -> list[tuple[SelfEdit, ...]]:
    every = [episode for split in ("train", "validation", "test") for episode in s.episodes(split)]  # type: ignore[arg-type]
    asks = [EditAsk(episode, s.roles["teacher"], n, seed=0) for episode in every[:count]]
    return [group.edits for group in s.propose("teacher", asks)]


def learnt(s: SessionService, edit: SelfEdit) -> list[str]:
    found = s.expand(UpdateJob("j", s.roles["student"], (edit,), seed=0))
    return [item.target for item in found if isinstance(item, Example)]


def about(request: Request, index: int) -> str:
    """Two lines about the page that is in the prompt."""
    page = str(request.prompt).partition("Page ")[2][0]
    return f"Line {index} about {page}.\nMore about {page}."


def test_the_passage_is_ones_own_and_the_edit_is_the_next_ones(tmp_path: Path) -> None:
    s = session(tmp_path, OtherEdits(WRITES), about)
    rows = proposed(s, count=3, n=2)
    pages = [learnt(s, edits[0])[-1].splitlines()[0].split()[1] for edits in rows]
    for place, edits in enumerate(rows):
        other = pages[(place + 1) % len(pages)]
        assert [edit.id.rpartition("/")[2] for edit in edits] == ["0", "1"]
        assert learnt(s, edits[1]) == [
            f"Page {other}\nLine 1 about {other}.",
            f"Page {other}\nMore about {other}.",
            f"Page {pages[place]}\nMoon {pages[place]}.",
        ]


def test_a_failed_edit_stays_failed_for_the_one_that_gets_it(tmp_path: Path) -> None:
    s = session(tmp_path, OtherEdits(WRITES), lambda request, n: "")
    [[one], _] = proposed(s, count=2)
    assert one.status == "failed"
    assert "the edit of" in one.reason


def test_a_single_context_has_no_other(tmp_path: Path) -> None:
    s = session(tmp_path, OtherEdits(WRITES), about)
    with pytest.raises(UsageError, match="two contexts"):
        proposed(s, count=1)


def words(texts: Sequence[str]) -> int:
    """The scripted model counts words as tokens."""
    return sum(len(text.split()) for text in texts)


@settings(max_examples=30)
@given(st.lists(st.lists(st.sampled_from(["sun", "moon", "star"]), min_size=1, max_size=12), min_size=1, max_size=8))
def test_the_passage_is_seen_as_often_as_the_edit_has_tokens(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]]
) -> None:
    text = "\n".join(" ".join(line) for line in lines)
    folder = tmp_path_factory.mktemp("matched")
    real = session(folder / "real", WRITES, lambda request, n: text)
    s = session(folder / "matched", PassageRepeatTokens(WRITES), lambda request, n: text)
    [[edit]], [[written]] = proposed(s, count=1), proposed(real, count=1)
    repeated, target = learnt(s, edit), words(learnt(real, written))
    assert len(set(repeated)) == 1
    assert abs(words(repeated) - target) <= max(words(repeated[:1]) / 2, words(repeated[:1]) - target)


class Lost(Editor):
    """An editor whose endpoint is down."""

    def propose(self, asks: Sequence[EditAsk], s: Any, /) -> list[list[SelfEdit]]:
        return [[SelfEdit(f"{ask.episode.id}/0", ask.episode.id, (), status="error", reason="down")] for ask in asks]


def test_an_edit_that_was_lost_is_not_replaced_by_a_passage(tmp_path: Path) -> None:
    for place, editor in (("a", PassageRepeatTokens(Lost())), ("b", OtherEdits(Lost()))):
        [[edit], _] = proposed(session(tmp_path / place, editor, about), count=2)
        assert (edit.status, edit.data) == ("error", ())


def test_an_edit_that_came_to_nothing_still_leaves_the_passage(tmp_path: Path) -> None:
    s = session(tmp_path, PassageRepeatTokens(WRITES), lambda request, n: "")
    [[edit]] = proposed(s, count=1)
    assert len(learnt(s, edit)) == 1
