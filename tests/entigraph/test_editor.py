"""The three passes, which texts are kept, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness_entigraph.editor import EntiGraph, EntiGraphSettings

from harness.api import EditAsk, Example, Recipe, Request, SelfEdit, UpdateJob
from harness.errors import UsageError
from harness.session.service import SessionService
from harness.tasks.squad import Squad
from harness.testing import ScriptedLM, open_session

NAMES = ["Ada Marsh", "Kemble Point", "the Harbour Board", "Lorn"]
LISTED = json.dumps({"summary": "A tower was built.", "entities": NAMES})


def writer(request: Request, index: int) -> str:
    """Writes a JSON list, or one line of ten words for every name asked about."""
    prompt = str(request.prompt)
    if "JSON object" in prompt:
        return LISTED
    asked = prompt.rpartition("Essay on ")[2].partition(" in ")[0]
    return "\n".join(f"{name} did a thing." for name in NAMES if name in asked)


def session(folder: Path, answer: Any, **settings: Any) -> SessionService:
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        {"title": f"Page {n}", "context": f"Ada Marsh built {n}.", "questions": [{"question": "?", "answer": "a"}]}
        for n in range(5)
    ]
    (folder / "p.json").write_text(json.dumps(records), encoding="utf-8")
    editor = EntiGraph(EntiGraphSettings(**settings))
    squad = Squad(Squad.Settings(data=str(folder / "p.json")))
    return open_session(
        folder, squad, {"teacher": ScriptedLM(answer)}, {"editor": ("editor", editor)}, roles={"student": "@teacher"}
    )


def proposed(s: SessionService, n: int = 1) -> tuple[SelfEdit, ...]:
    [group] = s.propose("teacher", [EditAsk(s.episodes("test")[0], s.roles["teacher"], n, seed=1)])
    return group.edits


def learnt(s: SessionService, edit: SelfEdit) -> list[str]:
    found = s.expand(UpdateJob("j", s.roles["student"], (edit,), seed=0))
    return [item.target.partition("\n")[2] for item in found if isinstance(item, Example)]


def test_summary_texts_and_passage_are_learnt(tmp_path: Path) -> None:
    s = session(tmp_path, writer, pairs=3, triples=2)
    [edit] = proposed(s)
    summary, *texts, passage = learnt(s, edit)
    assert summary == "A tower was built."
    assert [text.count("did a thing") for text in texts] == [2, 2, 2, 3, 3]
    assert passage == s.episodes("test")[0].context["text"]
    assert len(set(texts)) == 5
    assert len(edit.actions) == 1 + 5


def test_all_pairs_and_all_triples(tmp_path: Path) -> None:
    [edit] = proposed(session(tmp_path, writer, pairs=-1, triples=-1, summary=False))
    assert len(edit.data) == 6 + 4 + 1


def test_only_so_many_entities_are_used(tmp_path: Path) -> None:
    [edit] = proposed(session(tmp_path, writer, pairs=-1, max_entities=2, summary=False))
    assert len(edit.data) == 1 + 1


def test_samples_draw_their_own_pairs(tmp_path: Path) -> None:
    s = session(tmp_path, writer, pairs=2, summary=False)
    edits = proposed(s, n=4)
    assert [edit.id.rpartition("/")[2] for edit in edits] == list("0123")
    assert len({tuple(learnt(s, edit)) for edit in edits}) > 1


def test_a_text_is_one_sequence_or_cut_up_like_any_edit(tmp_path: Path) -> None:
    whole = session(tmp_path / "a", writer, pairs=1, summary=False)
    lines = session(tmp_path / "b", writer, pairs=1, summary=False, one_sequence=False)
    assert len(learnt(whole, proposed(whole)[0])) == 1 + 1
    assert len(learnt(lines, proposed(lines)[0])) == 2 + 1


def test_triples_at_the_budget_of_pairs_bring_no_further_text(tmp_path: Path) -> None:
    def tokens(edit: SelfEdit) -> int:
        return sum(len(item.args["text"]) for item in edit.data if isinstance(item, Recipe) and item.name == "lines")

    pairs = proposed(session(tmp_path / "a", writer, pairs=5, summary=False))[0]
    both = proposed(session(tmp_path / "b", writer, pairs=5, triples=5, summary=False))[0]
    matched = proposed(session(tmp_path / "c", writer, pairs=5, triples=5, summary=False, match_pairs=True))[0]
    assert tokens(matched) <= tokens(pairs) < tokens(both)
    assert tokens(matched) > 0.5 * tokens(pairs)
    kinds = [item.args["text"].count("did") for item in matched.data if isinstance(item, Recipe) and item.args]
    assert {2, 3} == set(kinds)


def test_the_budget_cuts_and_leaves_one(tmp_path: Path) -> None:
    few = proposed(session(tmp_path / "a", writer, pairs=5, summary=False, budget_tokens=112))[0]
    one = proposed(session(tmp_path / "b", writer, pairs=5, summary=False, budget_tokens=1))[0]
    assert (len(few.data), len(one.data)) == (2 + 1, 1 + 1)


def test_fallbacks_and_unnamed_texts_are_counted(tmp_path: Path) -> None:
    s = session(tmp_path, lambda r, n: "no JSON here" if "JSON object" in str(r.prompt) else "It did a thing.")
    s.propose("teacher", [EditAsk(s.episodes("test")[0], s.roles["teacher"], 1, seed=1)])
    report = s.keep(f"entigraph/{s.episodes('test')[0].id}")
    assert report is not None
    # The passage has a single name in it, so there is no pair to write about.
    assert (report["fallback"], report["without_pairs"], report["texts"]) == (1, 1, 0)
    other = session(tmp_path / "b", lambda r, n: LISTED if "JSON object" in str(r.prompt) else "It did a thing.")
    proposed(other)
    counted = other.keep(f"entigraph/{other.episodes('test')[0].id}")
    assert counted is not None
    assert (counted["ok"], counted["texts"], counted["naming_all"]) == (1, 5, 0)


def test_names_that_the_passage_does_not_hold_can_be_left_out(tmp_path: Path) -> None:
    listed = '{"entities": ["Ada Marsh", "Lorn", "built"]}'
    s = session(tmp_path, lambda r, n: listed if "JSON" in str(r.prompt) else "x", in_passage=True, pairs=-1)
    [edit] = proposed(s)
    report = s.keep(f"entigraph/{edit.episode}")
    assert report is not None
    assert (report["names_left_out"], report["texts"]) == (1, 1)


def test_a_text_that_names_not_all_gives_way_to_one_that_does(tmp_path: Path) -> None:
    def second_try(request: Request, index: int) -> str:
        return writer(request, index) if "JSON object" in str(request.prompt) or index == 1 else f"Nothing {index}."

    once = session(tmp_path / "a", second_try, pairs=2, summary=False)
    thrice = session(tmp_path / "b", second_try, pairs=2, summary=False, tries=3)
    never = session(tmp_path / "c", lambda r, n: LISTED if "JSON object" in str(r.prompt) else f"Nothing {n}.", tries=3)
    assert all("Nothing 0" in text for text in learnt(once, proposed(once)[0])[:2])
    assert all("did a thing" in text for text in learnt(thrice, proposed(thrice)[0])[:2])
    assert all("Nothing 0" in text for text in learnt(never, proposed(never)[0])[1:6])


def test_without_two_entities_the_passage_is_learnt_as_it_is(tmp_path: Path) -> None:
    s = session(tmp_path, lambda r, n: '{"summary": "", "entities": ["Lorn"]}')
    [edit] = proposed(s)
    assert edit.status == "ok"
    assert learnt(s, edit) == [s.episodes("test")[0].context["text"]]


def test_a_model_that_follows_a_schema_is_given_one(tmp_path: Path) -> None:
    s = session(tmp_path, writer)
    proposed(s)
    asked = s.context.models[s.roles["teacher"].base].asked
    assert asked[0].schema is not None
    assert all(request.schema is None for request in asked[1:])


def test_lab_prompts_are_lists_of_lines(tmp_path: Path) -> None:
    def lab(request: Request, index: int) -> str:
        prompt = str(request.prompt)
        return "Ada Marsh\nLorn" if prompt.rstrip().endswith("Names:") else "Ada Marsh met Lorn."

    preset = {"template": "harness_lab:templates/entigraph-1.toml", "entities_as": "lines", "one_sequence": False}
    s = session(tmp_path, lab, **preset)
    [edit] = proposed(s)
    assert learnt(s, edit)[0] == "Ada Marsh met Lorn."


def test_settings_that_make_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing to write"):
        EntiGraph(EntiGraphSettings(pairs=0, triples=0))
