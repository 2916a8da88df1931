"""The HTML page in a real browser: it opens from disk, sorts, filters, and draws its plots without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from harness.evidence.leaderboard.board import sections
from harness.evidence.leaderboard.render import HEADERS, to_html
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
const seen = { opened: methods(), plots: count("svg"), curves: count("polyline") };
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
    path = folder / "page.html"
    page = to_html(sections([result_file(rows, task=task)]))
    path.write_text(page.replace("</html>", f"<script>{SCRIPT}</script></html>"), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
               "--dump-dom", path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert 'data-ready="yes"' in done.stdout, done.stderr[-2000:]
    found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(found.group(1).replace("&lt;", "<").replace("&gt;", ">"))
    return said


def test_it_opens_and_draws(seen: dict[str, Any]) -> None:
    assert seen["opened"] == ["seal", "passage <i>", "none"]
    assert (seen["plots"], seen["curves"]) == (2, 3)


def test_it_sorts_by_number_and_back(seen: dict[str, Any]) -> None:
    assert seen["ascending"] == ["none", "passage <i>", "seal"]
    assert seen["descending"] == ["seal", "passage <i>", "none"]


def test_it_filters(seen: dict[str, Any]) -> None:
    assert seen["filtered"] == ["seal"]
    assert seen["nothing"]
    assert seen["published"] == []
    assert len(seen["measured"]) == 3
