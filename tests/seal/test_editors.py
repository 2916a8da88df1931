"""Prompt templates and the editors that use them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness_seal import editors, harness_editors

from harness.api import EditAsk, Group, Prompt, Recipe, State
from harness.errors import UsageError
from harness.registry.prompt_files import load
from harness.tasks.squad import Squad
from harness.testing.scripted import Answer, ScriptedLM, open_session

CONTEXT = {"title": "Tides", "text": "The {title} moon pulls."}
PATHS = {key: path.split(":") for key, path in harness_editors().items()}
CLASSES = {key: getattr(editors, name) for key, (module, name) in PATHS.items() if module == "harness_seal.editors"}
KEYS = sorted(set(CLASSES) - {"prompted"})


def prompt(key: str, *, chat: bool, file: str = editors.TEMPLATES) -> Prompt:
    return load(file, key, ("text",)).fill(CONTEXT, chat=chat)


def squad(folder: Path) -> Squad:
    records = [
        {"title": f"Page {n}", "context": f"Moon {n} pulls.", "questions": [{"question": "?", "answer": "a"}]}
        for n in range(5)
    ]
    folder.mkdir(exist_ok=True)
    (folder / "p.json").write_text(json.dumps(records), encoding="utf-8")
    return Squad(Squad.Settings(data=str(folder / "p.json")))


def proposed(folder: Path, key: str, answer: Answer, *, n: int = 1, chat: bool = False) -> tuple[Group, ScriptedLM]:
    model = ScriptedLM(answer, can=frozenset({"generate", "chat"} if chat else {"generate"}))
    editor = CLASSES[key](CLASSES[key].Settings())
    s = open_session(folder, squad(folder), {"teacher": model}, {"editor": ("editor", editor)})
    [group] = s.propose("teacher", [EditAsk(s.episodes("train")[0], State(model.base), n, seed=7)])
    return group, model


@pytest.mark.parametrize("key", KEYS)
def test_every_prompt_shows_the_passage_in_both_forms(key: str) -> None:
    base, chat = prompt(key, chat=False), prompt(key, chat=True)
    assert isinstance(base, str)
    assert isinstance(chat, tuple)
    assert "Tides\nThe {title} moon pulls.\n" in base  # replaced once, never within the passage
    assert "Tides\nThe {title} moon pulls." in chat[-1][1]
    assert not base.endswith(" ")


def test_prompts_differ_from_key_to_key_in_both_forms() -> None:
    for chat in (False, True):
        assert len({prompt(key, chat=chat) for key in KEYS}) == len(KEYS)


@pytest.mark.parametrize("key", [*KEYS, "prompted"])
def test_an_edit_is_the_text_and_the_passage(tmp_path: Path, key: str) -> None:
    group, model = proposed(tmp_path, key, lambda request, n: f"  fact {n}\nmore ", n=2)
    assert [edit.id for edit in group.edits] == [f"{group.ask.episode.id}/{n}" for n in range(2)]
    for n, edit in enumerate(group.edits):
        lines, passage = edit.data
        assert isinstance(lines, Recipe)
        assert lines.name == "lines"
        assert lines.args["text"].endswith(f"fact {n}\nmore")
        assert passage == Recipe("passage")
        assert edit.actions[0].text == f"  fact {n}\nmore "
    [request] = model.asked
    assert (request.temperature, request.top_p, request.max_tokens, request.seed) == (1.0, 0.95, 1024, 7)
    assert "Moon" in str(request.prompt)


def test_an_instruct_model_gets_turns(tmp_path: Path) -> None:
    _, model = proposed(tmp_path, "rewrite", lambda request, n: "x", chat=True)
    assert [turn[0] for turn in model.asked[0].prompt] == ["system", "user"]


def test_the_cue_is_put_back_before_the_text_unless_it_is_there(tmp_path: Path) -> None:
    def first(folder: str, text: str) -> str:
        group, _ = proposed(tmp_path / folder, "self-qa", lambda request, n: text)
        recipe = group.edits[0].data[0]
        assert isinstance(recipe, Recipe)
        return str(recipe.args["text"])

    assert first("a", " Who?\nAnswer: he") == "Question 1: Who?\nAnswer: he"
    assert first("b", "Question 1: Who?\nAnswer: he") == "Question 1: Who?\nAnswer: he"


def test_thoughts_are_not_learnt(tmp_path: Path) -> None:
    group, _ = proposed(tmp_path, "implications-chain-of-thought", lambda request, n: "Hm.\nImplications:\na\nb")
    recipe = group.edits[0].data[0]
    assert isinstance(recipe, Recipe)
    title = group.ask.episode.context["title"]
    expanded = squad(tmp_path).expand(recipe, group.ask.episode, 0)
    assert [example.target for example in expanded] == [f"{title}\na", f"{title}\nb"]


@pytest.mark.parametrize(("text", "reason"), [(" \n", "empty"), ("\x00\x01", "full of control characters: 2 of 2")])
def test_a_useless_text_is_a_failed_edit_that_is_recorded(tmp_path: Path, text: str, reason: str) -> None:
    group, _ = proposed(tmp_path, "implications", lambda request, n: text)
    assert [(edit.status, edit.reason, len(edit.actions)) for edit in group.edits] == [("failed", reason, 1)]


def test_a_prompt_that_the_model_cannot_take_is_a_failed_edit(tmp_path: Path) -> None:
    class Short(ScriptedLM):
        def _complete(self, ask, index):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            return replace(super()._complete(ask, index), text="", finish="failed", reason="context length 900 > 512")

    model = Short({})
    editor = CLASSES["implications"](CLASSES["implications"].Settings())
    s = open_session(tmp_path, squad(tmp_path), {"teacher": model}, {"editor": ("editor", editor)})
    [group] = s.propose("teacher", [EditAsk(s.episodes("train")[0], State(model.base), 1, seed=0)])
    assert (group.edits[0].status, group.edits[0].reason) == ("failed", "context length 900 > 512")


# --- a template of the user's own ----------------------------------------------------------------------------------


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = own(tmp_path, 'version = "1"\n[short]\nbase = "{text} ({title})"\n')
    assert prompt("short", chat=False, file=file) == "The {title} moon pulls. (Tides)"
    with pytest.raises(UsageError, match=r"mine\.toml: prompt 'short': has no 'instruct' form"):
        prompt("short", chat=True, file=file)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("shrot", '[short]\nbase = "{text}"', r"no prompt 'shrot'\. Did you mean 'short'\?"),
        ("short", '[short]\nbase = "{txt}"', r"base: lacks the placeholder \{text\}"),
        ("short", "[short]\nbase = 3", "base: must be a string"),
        ("short", '[short]\ninstruct = "x"', "system: must be a string"),
        ("short", "[short", "is not TOML"),
    ],
)
def test_what_is_wrong_with_it(tmp_path: Path, key: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prompt(key, chat=False, file=own(tmp_path, text))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml: cannot be read"):
        prompt("implications", chat=False, file="nowhere.toml")


def test_a_misspelled_key() -> None:
    with pytest.raises(UsageError, match=r"no prompt 'implication'\. Did you mean 'implications'"):
        editors.Prompted(editors.PromptedSettings(prompt="implication"))
