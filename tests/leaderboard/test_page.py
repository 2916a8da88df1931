"""The HTML page in a real browser: it opens from disk, sorts, filters, and draws its plots without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from harness.evidence.leaderboard.board import sections
from harness.evidence.leaderboard.page import to_html
from harness.evidence.leaderboard.render import FIRST, HEADERS
from tests.leaderboard.examples import items, result_file, row

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on this machine: install the distribution's package"
)

# A reader's actions, and what the screen then shows; a failing script leaves no element behind.
SCRIPT = """
const rows = () => [...document.querySelectorAll("tbody tr")].filter((r) => !r.hidden && !r.closest("section").hidden);
const methods = () => rows().map((r) => r.cells[1].textContent);
const count = (what) => document.querySelectorAll(what).length;
const type = (id, value) => {
  const box = document.getElementById(id);
  box.value = value;
  box.dispatchEvent(new Event("input"));
};
const score = document.querySelectorAll("th button")[SCORE];
const columns = () => [...document.querySelector("thead tr").cells].filter((c) => c.offsetWidth > 0).length;
const seen = { opened: methods(), plots: count("svg"), columns: columns() };
document.getElementById("all").click(); seen.all = columns(); document.getElementById("all").click();
seen.wide = document.documentElement.scrollWidth - window.innerWidth;
seen.headings = [...document.querySelectorAll("h3")].map((h) => h.textContent);
const dot = (text) => [...document.querySelectorAll("title")].find((t) => t.textContent.startsWith(text));
const fill = (node) => getComputedStyle(node).getPropertyValue("fill");
const ball = (text) => fill(dot(text).parentElement.querySelector("circle"));
seen.coloured = ball("seal:") !== ball("none:");
score.click(); seen.ascending = methods();
score.click(); seen.descending = methods();
type("filter", "SEAL"); seen.filtered = methods();
type("filter", "nobody"); seen.nothing = !document.getElementById("none").hidden;
type("filter", ""); type("kind", "published"); seen.published = methods();
type("kind", "measured"); seen.measured = methods();
const out = document.createElement("pre");
out.id = "seen";
out.textContent = JSON.stringify(seen);
document.body.append(out);
""".replace("SCORE", str(HEADERS.index("score")))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One visit of the page, opened from disk, with name look-ups made to fail."""
    folder = tmp_path_factory.mktemp("page")
    task = items(contexts=40)
    rows = [row("none", 0.1, task=task), row("seal", 0.6, task=task), row("passage <i>", 0.35, task=task)]
    rows.append(row("several", 0.2, task=task, samples="2", evaluator="0123456789abcdef"))
    path = folder / "page.html"
    page = to_html(sections([result_file(rows, task=task)]))
    path.write_text(page.replace("</html>", f"<script>{SCRIPT}</script></html>"), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={folder / 'profile'}", "--window-size=500,900",
               "--host-resolver-rules=MAP * ~NOTFOUND",
               "--dump-dom", path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert 'data-ready="yes"' in done.stdout, done.stderr[-2000:]
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">"))
    return said


def test_it_opens_and_draws(seen: dict[str, Any]) -> None:
    assert seen["opened"] == ["seal", "passage <i>", "none", "several"]
    assert seen["plots"] == 4, "scores, cost and curve of the one table, the curve of the other"
    assert seen["coloured"]


def test_what_may_be_compared_is_a_table_with_its_condition_in_words(seen: dict[str, Any]) -> None:
    assert len(seen["headings"]) == 2
    assert "2 edits per context" in seen["headings"][1]
    assert "0123456789abcdef" not in "".join(seen["headings"])


def test_eight_columns_are_shown_and_the_rest_on_demand(seen: dict[str, Any]) -> None:
    assert (seen["columns"], seen["all"]) == (FIRST, len(HEADERS))
    assert seen["wide"] <= 0, "nothing reaches beyond a window of 500 px"


def test_it_sorts_by_number_and_back(seen: dict[str, Any]) -> None:
    assert seen["ascending"] == ["none", "passage <i>", "seal", "several"]
    assert seen["descending"] == ["seal", "passage <i>", "none", "several"]


def test_it_filters(seen: dict[str, Any]) -> None:
    assert seen["filtered"] == ["seal"]
    assert seen["nothing"]
    assert seen["published"] == []
    assert len(seen["measured"]) == 4
