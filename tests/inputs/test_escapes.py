"""Text from plugins, files and models has no effect where it is printed (control codes, markup)."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness import escape
from harness.cli import main
from harness.evidence.gate import outputs
from harness.evidence.gate.verdict import Check, Gate
from harness.evidence.leaderboard.board import sections
from harness.evidence.leaderboard.page import to_html
from harness.evidence.leaderboard.render import to_csv, to_markdown
from harness.evidence.leaderboard.table import render
from harness.evidence.result import ResultFile
from harness.evidence.result_file import write
from harness.tasks.arc.grid import Puzzle
from harness.tasks.arc.page import page
from harness.text import writable
from tests.leaderboard.examples import items, result_file, row

HOSTILE = (
    "<img src=x onerror=alert(1)>", "a\n# Forged heading", "x | y | z", "[link](https://x.org)", "```\n</details>",
    "=HYPERLINK(1)", "@SUM(1)", "+1", "-1", "\t=1", "\r=1", "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "[bold red]x[/]",
    "\u202egnp.exe", "a\x00b", "\ud83d half", "\ufffe", "\\", "[/]",
)  # fmt: skip
ANY = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(codec=None), max_size=20))
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def hostile(text: str) -> ResultFile:
    text = writable(text)  # as when it is read: characters that cannot be written were replaced on input
    task = replace(items(contexts=4), name=f"facts{text}", metric=f"m{text}")
    bad = replace(row(f"{text}", 0.5, task=task), notes=(text, f"x{text}"), editor_model=text)
    return replace(result_file([bad], task=task, run=f"{text}run"), source=text)


@given(ANY)
def test_a_leaderboard_in_markdown_has_no_other_lines_or_markup(text: str) -> None:
    made, plain = (to_markdown(sections([hostile(one)])).splitlines() for one in (text, "x"))
    assert len(made) == len(plain)
    assert [one[:2] for one in made] == [one[:2] for one in plain]
    for one in made[1:]:
        assert not re.search(r"<(?!!--)|(?<!\\)[`\[\]]", one)
        assert not CONTROL.search(one)
    rows = [one for one in made if one.startswith("| ")]
    assert len({len(re.findall(r"(?<!\\)\|", one.replace("\\\\", ""))) for one in rows}) == 1
    "\n".join(made).encode()


@given(ANY)
def test_no_cell_of_csv_is_a_formula(text: str) -> None:
    made = to_csv(sections([hostile(text)]))
    header, *rows = csv.reader(io.StringIO(made))
    assert len(rows) == 1
    for name, cell in zip(header, rows[0], strict=True):
        assert not cell.startswith(tuple("=+-@\t\r")), name
        assert not CONTROL.search(cell)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, [name for name, _ in attrs]))


def tags(text: str) -> list[tuple[str, list[str]]]:
    parser = Tags()
    parser.feed(text)
    return parser.seen


@given(ANY)
def test_the_pages_have_no_other_elements(text: str) -> None:
    assert tags(to_html(sections([hostile(text)]))) == tags(to_html(sections([hostile("x")])))
    grid = ((1,),)
    line = {"method": text, "seed": 0, "sample": 0, "episode": text, "status": "failed", "answers": ["[[1]]", text],
            "reason": text}  # fmt: skip
    puzzle = Puzzle(text, (), (grid,), (grid,))
    made = page(text, [(puzzle, [{**line, "query": puzzle.subtask(0)}])])
    other = Puzzle("x", (), (grid,), (grid,))
    said = {"method": "x", "answers": ["[[1]]", "x"], "reason": "x", "query": "x-0"}
    assert tags(made) == tags(page("x", [(other, [{**line, **said}])]))
    assert not CONTROL.search(made)


@given(ANY)
def test_the_gates_reports_hold_the_text_and_nothing_it_does(text: str) -> None:
    def gate(one: str) -> Gate:
        check = Check(one, "regressed", one, lost=(one, "q"))
        return Gate(f"b{one}", (check,), 0.02, (f"note {one}",))

    lines, plain = (outputs.to_markdown(gate(one)).splitlines() for one in (text, "x"))
    assert len(lines) == len(plain)
    outside = "\n".join(lines[: next(at for at, one in enumerate(lines) if one.startswith("```"))])
    assert not re.search(r"<(?!/?details>|/?summary>)", outside)
    assert not CONTROL.search("\n".join(lines))
    suite = ElementTree.fromstring(outputs.to_junit(gate(text)))
    assert [one.tag for one in suite.iter()] == [
        one.tag for one in ElementTree.fromstring(outputs.to_junit(gate("x"))).iter()
    ]


@given(ANY)
def test_a_table_in_the_terminal_obeys_nothing(text: str) -> None:
    stream = io.StringIO()
    Console(file=stream, width=400, color_system=None).print(render(hostile(text)))
    shown = stream.getvalue()
    assert not CONTROL.search(shown)
    shown.encode()


@pytest.mark.parametrize("words", [["leaderboard", "show"], ["compare"], ["gate"]], ids=" ".join)
@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "x\nverdict  better", "[bold]x[/]", "[/]"])
def test_commands_print_no_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = str(write(replace(hostile(text), run="r"), tmp_path / f"r{text.replace('/', '')}.json"))
    more = {"compare": [path, path], "gate": ["--baseline", path, "--run", path]}.get(words[0], [path])
    with pytest.raises(SystemExit) as stopped:
        main([*words, *more])
    out = capsys.readouterr()
    assert stopped.value.code in (0, None)
    assert not CONTROL.search(out.out + out.err)
    assert not [one for one in out.out.splitlines() if one.startswith("verdict  better")]
    shown = text.replace("/", "") if words[0] == "compare" else text
    assert escape.line(shown)[:3] in out.out, "it is shown, as what it is"


def test_an_error_is_one_line_without_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path / "a\nharness: all is well\x1b[2J"), "b"])
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "\x1b" not in err
