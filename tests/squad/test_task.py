"""The task itself: published subsets, splits, prompts, and recipes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.api import EditFailed, Episode, Example, Query, Recipe, SelfEdit
from harness.errors import UsageError
from harness.tasks.squad.passages import Passage, Question
from harness.tasks.squad.subsets import deal
from harness.tasks.squad.task import Squad
from tests.shared_data import shared

EPISODE = Episode(
    "e", "test", {"title": "Tides", "text": " The moon pulls.\n"}, (Query("q", "What pulls?", {"title": "Tides"}),)
)


def made(titles: list[str]) -> list[Passage]:
    return [Passage(title, f"text {n}", (Question(f"q{n}", "?", ("a",)),)) for n, title in enumerate(titles)]


def file(tmp_path: Path, titles: list[str], name: str = "p.json") -> str:
    records = [
        {"title": title, "context": f"text {n}", "questions": [{"question": "?", "answer": "a"}]}
        for n, title in enumerate(titles)
    ]
    (tmp_path / name).write_text(json.dumps(records), encoding="utf-8")
    return str(tmp_path / name)


def task(**settings: Any) -> Squad:
    return Squad(Squad.Settings(**settings))


# --- published choices ---------------------------------------------------------------------------------------------


def test_the_published_200_passages_in_their_order() -> None:
    items = task(data=str(shared("squad/squad_val.json")), subset="seal-200").load("test")
    recorded = json.loads(shared("seal/edits/val_base.json").read_text(encoding="utf-8"))
    assert [episode.context["text"] for episode, _ in items] == [record["context"] for record in recorded]
    rows = [json.loads(line) for line in shared("seal/v2/questions_all_974.jsonl").open(encoding="utf-8")]
    ours = [(query.text, references[query.id][0]) for episode, references in items for query in episode.queries]
    assert ours == [(row["question"], row["gold"]) for row in rows]


@pytest.mark.parametrize(
    ("subset", "file", "passages", "asked"),
    [
        ("seal-200-500", "questions_cpt200_fullft_500_seed42", 200, 194),
        ("seal-200-500-seed43", "questions_cpt200_ga_500_seed43", 200, None),
        ("seal-2067-500", "questions_cpt2067_fullft_500_seed42", 2067, 444),
    ],
)
def test_the_published_500_questions(subset: str, file: str, passages: int, asked: int | None) -> None:
    rows = [json.loads(line) for line in shared(f"seal/v2/{file}.jsonl").open(encoding="utf-8")]
    items = task(data=str(shared("squad/squad_val.json")), subset=subset).load("test")
    assert len(items) == passages
    ours = [
        (index, query.text, references[query.id][0])
        for index, (episode, references) in enumerate(items)
        for query in episode.queries
    ]
    assert sorted(ours) == sorted((row["context_index"], row["question"], row["gold"]) for row in rows)
    if asked is not None:
        assert len({index for index, _, _ in ours}) == asked


def test_published_training_passages_in_file_order(tmp_path: Path) -> None:
    settings = {"data": str(shared("squad/squad_val.json")), "train": str(shared("squad/squad_train_199.json"))}
    items = task(**settings, validation=file(tmp_path, ["a"]), train_order="file-order").load("train")
    recorded = json.loads(shared("seal/edits/train_iter0.json").read_text(encoding="utf-8"))
    assert [episode.context["text"] for episode, _ in items[:100]] == [record["context"] for record in recorded]


# --- splits --------------------------------------------------------------------------------------------------------


def test_one_file_is_split_by_title_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    squad = task(data=str(shared("squad/squad_val.json")))
    with caplog.at_level(logging.INFO, "harness"):
        splits = {split: squad.load(split) for split in ("train", "validation", "test")}
    titles = {split: {episode.context["title"] for episode, _ in items} for split, items in splits.items()}
    assert [len(found) for found in titles.values()] == [28, 10, 10]
    assert len(set().union(*titles.values())) == 48
    assert sum(map(len, splits.values())) == 2067
    assert "split 60/20/20 by the hash of the title" in caplog.text
    assert all(episode.split == split for split, items in splits.items() for episode, _ in items)


@given(st.lists(st.sampled_from("abcdefghij"), min_size=3, max_size=40))
def test_dealing(titles: list[str]) -> None:
    passages = made(titles)
    parts = deal(passages, (0.6, 0.2, 0.2))
    assert all(parts)
    assert sorted(p.text for part in parts for p in part) == sorted(p.text for p in passages)
    if len(set(titles)) >= 3:
        found = [{p.title for p in part} for part in parts]
        assert sum(map(len, found)) == len(set(titles))
    for part in parts:
        assert [p for p in passages if p in part] == part
    reordered = deal(passages[::-1], (0.6, 0.2, 0.2))
    assert [sorted(p.text for p in part) for part in reordered] == [sorted(p.text for p in part) for part in parts]


def test_a_file_with_one_title_is_dealt_by_passage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    squad = task(data=file(tmp_path, ["only"] * 5))
    assert [len(squad.load(split)) for split in ("train", "validation", "test")] == [3, 1, 1]
    assert "fewer titles than splits" in caplog.text


def test_a_file_too_small_to_split(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"p\.json: 2 passages cannot be dealt into 3 parts: add passages"):
        task(data=file(tmp_path, ["a", "b"])).load("test")


def test_with_a_training_file_all_of_data_is_the_test_split(tmp_path: Path) -> None:
    data = file(tmp_path, list("abcd"))
    train = tmp_path / "t.json"
    train.write_text(Path(data).read_text(encoding="utf-8").replace("text ", "other "), encoding="utf-8")
    squad = task(data=data, train=str(train), subset="file-order")
    assert [episode.context["title"] for episode, _ in squad.load("test")] == list("abcd")
    assert len(squad.load("train")) == 3
    assert len(squad.load("validation")) == 1


def test_a_passage_in_training_and_test_is_refused(tmp_path: Path) -> None:
    data = file(tmp_path, list("abcd"))
    with pytest.raises(UsageError, match=r"task\.train: a passage of '.' is also in the test split"):
        task(data=data, train=data).load("train")


def test_a_published_subset_needs_its_own_training_file(tmp_path: Path) -> None:
    squad = task(data=str(shared("squad/squad_val.json")), subset="seal-200")
    assert len(squad.load("test")) == 200
    with pytest.raises(UsageError, match=r"name task\.train as well"):
        squad.load("train")


def test_a_subset_larger_than_the_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'seal-200' takes 200 passages, .* has 3"):
        task(data=file(tmp_path, list("abc")), subset="seal-200").load("test")


def test_a_misspelled_subset() -> None:
    with pytest.raises(UsageError, match=r"task\.subset: no 'seal-20'\. Did you mean 'seal-200'"):
        task(subset="seal-20")


def test_references_are_apart_from_the_episode(tmp_path: Path) -> None:
    [(episode, references), *_] = task(data=file(tmp_path, list("abc"))).load("test")
    assert set(references) == {query.id for query in episode.queries}
    assert "answers" not in repr(episode)


# --- prompts -------------------------------------------------------------------------------------------------------


def test_prompts_word_for_word() -> None:
    query = EPISODE.queries[0]
    assert task().prompt(query, {}, chat=False) == (
        "Give a short and direct answer to the question.\n\nTopic: Tides\nQuestion: What pulls?\nAnswer:\n"
    )
    assert task().prompt(query, {"passage": "The moon pulls."}, chat=False) == (
        "Give a short and direct answer to the question, using the passage.\n\n"
        "Passage:\nTides\nThe moon pulls.\n\nTopic: Tides\nQuestion: What pulls?\nAnswer:\n"
    )
    assert task().prompt(query, {"passage": "x"}, chat=True) == (
        ("system", "Give a short and direct answer to the question, using the passage."),
        ("user", "Passage:\nTides\nx\n\nTopic: Tides\nQuestion: What pulls?"),
    )


def test_memory_that_the_task_cannot_show_is_refused() -> None:
    with pytest.raises(UsageError, match="'diary'"):
        task().prompt(EPISODE.queries[0], {"diary": "x"}, chat=False)


def test_a_playbook_is_shown_before_the_question() -> None:
    memory = {"playbook": {"text": "Be brief.", "bullets": []}}
    plain = task().prompt(EPISODE.queries[0], {}, chat=False)
    assert task().prompt(EPISODE.queries[0], memory, chat=False) == f"Be brief.\n\n{plain}"
    (role, system), *_ = task().prompt(EPISODE.queries[0], memory, chat=True)
    assert role == "system"
    assert str(system).endswith("Be brief.")


def test_extract_and_same() -> None:
    query = EPISODE.queries[0]
    assert task().extract(query, " The moon.\n") == "The moon."
    assert task().extract(query, " \n") is None
    assert task().same(query, "The moon.", "moon")
    assert not task().same(query, "sun", "moon")


# --- recipes -------------------------------------------------------------------------------------------------------


def texts(squad: Squad, *recipes: Recipe) -> list[str]:
    found = [example for recipe in recipes for example in squad.expand(recipe, EPISODE, 0)]
    assert all(isinstance(example, Example) and example.prompt == "" and example.weight == 1 for example in found)
    return [example.target for example in found]


def test_an_edit_and_its_passage() -> None:
    edit = (Recipe("lines", {"text": "1. a\n2. b"}), Recipe("passage"))
    assert texts(task(), *edit) == ["Tides\n1. a", "Tides\n2. b", "Tides\nThe moon pulls."]
    assert texts(task(title=False, passage="never", cap=1), *edit) == ["1. a"]
    assert texts(task(lines="never"), *edit) == ["Tides\n1. a\n2. b", "Tides\nThe moon pulls."]


def test_arguments_of_the_recipe_lines() -> None:
    text = "x\nImplications:\nQuestion 1: a\nAnswer 1: b"
    assert texts(task(), Recipe("lines", {"text": text, "splitter": "reference", "marker": "Implications:"})) == [
        "Tides\nQuestion 1: a",
        "Tides\nAnswer 1: b",
    ]


def test_the_passage_so_many_times() -> None:
    assert texts(task(), Recipe("repeat", {"times": 3})) == ["Tides\nThe moon pulls."] * 3


def test_the_passage_as_often_as_an_edit_has_sequences() -> None:
    match = Recipe("repeat", {"match": {"text": "a\nb\nc"}})
    assert texts(task(), match) == ["Tides\nThe moon pulls."] * 3
    assert texts(task(cap=2), match) == ["Tides\nThe moon pulls."] * 2
    [joined] = task().join([SelfEdit("e/0", "e", (match,))])
    assert texts(task(), *[item for item in joined.data if isinstance(item, Recipe)]) == ["Tides\nThe moon pulls."]
    assert texts(task(), Recipe("repeat", {"match": {"text": " "}})) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("x" * 100_001, "enormous: 100001 characters, the limit is 100000"),
        ("a\x00\x07\x1b", "full of control characters: 3 of 4"),
        ("***\n---", "no training text in it"),
    ],
)
def test_edits_that_fail(text: str, reason: str) -> None:
    with pytest.raises(EditFailed, match=reason):
        texts(task(), Recipe("lines", {"text": text}))


def test_an_unknown_recipe() -> None:
    with pytest.raises(UsageError, match=r"no recipe 'line'\. Did you mean 'lines'"):
        texts(task(), Recipe("line", {"text": "a"}))


def edits(texts_of: dict[str, list[str]]) -> list[SelfEdit]:
    return [
        SelfEdit(f"{episode}/{n}", episode, (Recipe("lines", {"text": text}), Recipe("passage")))
        for episode, found in texts_of.items()
        for n, text in enumerate(found)
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["a\nb", "P", "c", "P", "d", "P"]),
        ({"passage": "once-per-context"}, ["a\nb", "P", "c", "d", "P"]),
        ({"passage": "once-per-context", "lines": "always"}, ["a", "b", "P", "c", "d", "P"]),
        ({"passage": "never"}, ["a\nb", "c", "d"]),
    ],
)
def test_edits_learnt_together(settings: dict[str, Any], expected: list[str]) -> None:
    squad = task(title=False, **settings)
    joined = squad.join(edits({"e": ["a\nb", "c"], "f": ["d"]}))
    got = [text for edit in joined for text in texts(squad, *[x for x in edit.data if isinstance(x, Recipe)])]
    assert ["P" if text == "The moon pulls." else text for text in got] == expected
    assert [edit.id for edit in joined] == ["e/0", "e/1", "f/0"]


@pytest.mark.parametrize(("passage", "count"), [("once-per-completion", 2000), ("once-per-context", 1200)])
def test_published_continued_pretraining_end_to_end(passage: Any, count: int) -> None:
    records = json.loads(shared("seal/edits/val_base.json").read_text(encoding="utf-8"))
    squad = task(splitter="reference", passage=passage)
    joined = squad.join(edits({str(n): record["completions"] for n, record in enumerate(records)}))
    assert (
        sum(len(squad.expand(item, EPISODE, 0)) for e in joined for item in e.data if isinstance(item, Recipe)) == count
    )


@given(st.text(max_size=60), st.sampled_from(["reference", "fixed"]))
def test_any_text_makes_sequences_or_fails_with_a_reason(text: str, variant: Any) -> None:
    found: list[str] = []
    reason = ""
    try:
        found = texts(task(splitter=variant), Recipe("lines", {"text": text}))
    except EditFailed as why:
        reason = str(why)
    assert bool(found) != bool(reason)
    assert all(one.startswith("Tides\n") for one in found)
