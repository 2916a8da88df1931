"""``harness view``: the page of a run holds what the run did, whatever its texts are, and works in a real browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.errors import UsageError
from harness.evidence import colours
from harness.evidence.view.page import MOST, write_page
from tests.runner.test_runner import run
from tests.view.browser import BROWSER, NO_BROWSER, visit
from tests.view.runs import HOSTILE, large

in_browser = pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="data">([^<]*)<', page.read_text(encoding="utf-8"))
    assert found
    made: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found.group(1))))
    return made


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("animals"), limit=3, seeds=2).folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every text that a model or a task wrote tries to get out of its place."""
    folder = large(tmp_path_factory.mktemp("hostile"), contexts=6, per_context=2, methods=2, seeds=2)
    bad = json.dumps(HOSTILE)[1:-1]
    for path in [*folder.rglob("*.jsonl"), folder / "config.json"]:
        text = path.read_text()
        for name in ("text", "title", "answer"):
            text = re.sub(rf'"{name}": "[^"]*"', lambda _, name=name: f'"{name}": "{bad}"', text)
        text = text.replace('"texts": [["', f'"texts": [["{bad} ').replace(
            '"method": "method-0"}}', f'"method": "{bad}"}}}}'
        )
        path.write_text(text)
    result = folder / "result.json"
    result.write_text(result.read_text().replace('"source": "', f'"source": "{bad} '))
    return folder


def test_the_page_holds_what_the_run_did(animals: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page([animals], page)
    data = data_of(page)
    assert [row["label"] for row in data["rows"]] == ["animals", "bare"]
    assert [query["refs"] for query in data["queries"]] == [[episode["id"]] for episode in data["episodes"]]
    [table] = data["tables"]
    assert [answer[:2] for answer in table["answers"][0]["0"]] == [[0, 0], [1, 0]]
    learnt = data["learnt"][0]["0"]
    assert [edit["seed"] for edit in learnt["edits"]] == [0, 1]
    assert learnt["updates"][0]["sequences"][0][1] == learnt["edits"][0]["text"]
    first = data["loops"][0]["0"][1]["candidates"]
    assert sum(kept for _, _, _, kept, *_ in first) == 6
    text = page.read_text(encoding="utf-8")
    assert "Reward of every candidate by round" in text
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"|http://www.w3.org/[\w/]+', "", text)


def test_references_are_left_out_on_request(animals: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main_code(["view", str(animals), "--no-references", "--out", str(page)]) == 0
    assert all(query["refs"] is None for query in data_of(page)["queries"])


def test_two_runs_stand_side_by_side(animals: Path, tmp_path: Path) -> None:
    other = run(tmp_path, limit=3).folder
    write_page([animals, other], tmp_path / "page.html")
    data = data_of(tmp_path / "page.html")
    assert [row["label"] for row in data["rows"]] == [
        f"{method} ({folder.name})" for folder in (animals, other) for method in ("animals", "bare")
    ]
    assert len({row["colour"] for row in data["rows"]}) == 2, "a method keeps its colour"
    assert len(data["queries"]) == 3


def test_what_is_damaged_or_unfinished_is_named(animals: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run's folder"):
        write_page([tmp_path / "nothing"], tmp_path / "page.html")
    copy = tmp_path / "copy"
    for name in ("config.json", "result.json", "items/score.jsonl"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((animals / name).read_bytes())
    (copy / "items" / "score.jsonl").write_text('{"episode": "a", "queries": [{"id": 3}]}\n')
    with pytest.raises(UsageError, match=r"score.jsonl: line 1, field queries\[0\].id"):
        write_page([copy], tmp_path / "page.html")


def test_a_run_of_an_older_harness_is_shown_without_what_it_did_not_keep(animals: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    for path in [animals / "result.json", animals / "config.json", *animals.glob("scores/*"), *animals.glob("edits/*")]:
        to = old / path.relative_to(animals)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(path.read_bytes())
    write_page([old], tmp_path / "page.html")
    data = data_of(tmp_path / "page.html")
    assert len(data["queries"]) == 3
    assert data["tables"][0]["answers"][0]


def test_rounds_of_many_measures_have_a_line_per_measure(animals: Path, tmp_path: Path) -> None:
    """Side by side, twenty of them run out of the page."""
    many = tmp_path / animals.name
    shutil.copytree(animals, many)
    for path in many.glob("history/animals-*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for one in lines:
            if one["kind"] == "round":
                one["metrics"] = {f"measure_{at}": one["round"] + at for at in range(20)}
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    write_page([animals], tmp_path / "few.html")
    write_page([many], tmp_path / "many.html")
    assert '<th scope="col">validation</th>' in (tmp_path / "few.html").read_text(encoding="utf-8")
    text = (tmp_path / "many.html").read_text(encoding="utf-8")
    assert "<tr><td>measure 7</td><td>7</td><td>8</td>" in text
    assert '<th scope="col">round</th><th scope="col">0</th>' in text


def test_a_methods_colour_is_its_own_whoever_else_is_shown() -> None:
    alone = colours.places(["seal"])["seal"]
    assert colours.places(["icl", "none", "seal", "passage"])["seal"] == alone
    usual = colours.places(["icl", "seal", "seal-no-rl", "passage", "passage-repeat", "none"])
    assert len({place % len(colours.HUES) for place in usual.values()}) == 6


def test_many_queries_fit(tmp_path: Path) -> None:
    """The texts are random, so they pack worse than any language."""
    folder = large(tmp_path, contexts=60, per_context=4, methods=3, seeds=2)
    assert write_page([folder], tmp_path / "page.html") < MOST


@pytest.mark.slow
@in_browser
def test_a_run_of_two_thousand_queries_is_small_and_opens(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert write_page([large(tmp_path)], page) < MOST
    seen = visit(page, "return {items: document.querySelectorAll('#list li').length, ms: performance.now()}")
    assert seen["items"] == 2000


@in_browser
def test_hostile_texts_stay_texts(hostile: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_page([hostile], page)
    seen = visit(
        page,
        """
        for (const box of document.querySelectorAll("details")) box.open = true;
        await new Promise((r) => setTimeout(r, 200));
        return { scrolled: window.scrollY, broken: document.body.dataset.broken ?? "no",
                 images: document.querySelectorAll("img").length,
                 items: document.querySelectorAll("#list li").length,
                 text: document.getElementById("item").textContent }
        """,
    )
    assert (seen["broken"], seen["images"], seen["items"]) == ("no", 0, 12)
    assert HOSTILE in seen["text"]
    assert seen["scrolled"] == 0, "it opens at its beginning"


@in_browser
@pytest.mark.parametrize("width", [500, 1400])
def test_a_reader_finds_and_compares(animals: Path, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    write_page([animals], page)
    wanted = data_of(page)["queries"][1]
    seen = visit(
        page,
        """
        const shown = () => [...document.querySelectorAll("#list a")].map((a) => decodeURIComponent(a.hash.slice(7)));
        const at = (id) => document.getElementById(id), press = { bubbles: true };
        const type = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("input")); };
        const key = (name) => at("list").dispatchEvent(new KeyboardEvent("keydown", { key: name, ...press }));
        const now = () => document.querySelector("#list [aria-current]")?.dataset.query;
        const seen = { opened: document.querySelector("#item h3").textContent, all: shown().length, first: now() };
        key("j"); seen.next = now(); key("k"); seen.back = now();
        type("show", "flips"); seen.flips = shown().length;
        type("show", "failed"); seen.failed = shown().length;
        type("show", ""); type("search", "NO IDEA"); seen.searched = shown().length;
        type("search", "nothing like this"); seen.nothing = shown().length;
        type("search", "");
        const box = document.querySelector("#item > details:last-of-type"); box.open = true;
        await new Promise((r) => setTimeout(r, 100));
        seen.learnt = box.textContent;
        seen.cards = document.querySelectorAll(".card").length;
        seen.wide = document.documentElement.scrollWidth - window.innerWidth;
        seen.plots = document.querySelectorAll("figure svg").length;
        return seen;
        """,
        width=width,
        fragment=f"#query={wanted['id']}",
    )
    assert seen["opened"] == wanted["text"]
    assert (seen["all"], seen["flips"], seen["failed"], seen["nothing"]) == (3, 3, 0, 0)
    assert seen["searched"] == 3, "an answer is found whatever its case"
    assert (seen["first"], seen["next"], seen["back"]) == ("1", "2", "1")
    assert "is an animal (0)" in seen["learnt"]
    assert "Settings of the updater fit" in seen["learnt"]
    assert seen["cards"] == 2
    assert seen["wide"] <= 0, "nothing reaches beyond the window"
    assert seen["plots"] >= 3


def main_code(words: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_a_sequence_of_edits_is_a_heat_map_and_curves(tmp_path: Path) -> None:
    """Tables with steps need no code of their own here: whatever a protocol measures step by step is drawn."""
    protocol = {"use": "sequence", "neutral": 0, "start_as": "stack"}
    done = run(tmp_path, protocol=protocol, limit=4, beside=[])
    assert write_page([done.folder], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    stepped = [table.name for table in done.result.tables if len(table.steps) > 1]
    assert stepped
    for name in stepped:
        assert f"{name} at each step." in text
        assert f"animals: {name} by context, or by its place" in text
    assert text.count('class="heat"') == len(stepped)
    assert re.findall(r"<thead><tr><th></th>(.*?)</tr>", text)[1].count("<th") == 4, "a column per place"
    table = next(one for one in data_of(tmp_path / "page.html")["tables"] if one["name"] == stepped[0])
    assert {len(answer) > 2 for answer in table["answers"][0]["0"]} == {True}, "answers say their step"


def test_learning_stands_against_retention_with_its_interval(tmp_path: Path) -> None:
    """One run per strength of a cure, side by side: a point each, whose bar is the headline's interval."""
    protocol = {"use": "sequence", "neutral": 0, "start_as": "stack", "length": 2}
    folders = [run(tmp_path / str(k), protocol=protocol, limit=4, beside=[], seed=k).folder for k in range(2)]
    assert write_page(folders, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The headline with its 95% interval against learning" in text
    assert len(set(re.findall(r"points, score [\d.]+ \[\d", text))) >= 1
