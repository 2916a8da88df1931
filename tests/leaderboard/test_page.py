"""The HTML page in a real browser: it opens from disk, sorts, filters, and draws its plots without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.leaderboard.board import sections
from harness.leaderboard.render import to_html
from tests.leaderboard.examples import items, result_file, row

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: install the distribution's chromium"),
]


@pytest.fixture(scope="module")
def page() -> str:
    task = items(contexts=40)
    rows = [row("none", 0.1, task=task), row("seal", 0.6, task=task), row("passage <i>", 0.35, task=task)]
    return to_html(sections([result_file(rows, task=task)]))


def _open(page: str, folder: Path, script: str = "") -> str:
    """The document after its own script and ``script`` ran."""
    path = folder / "page.html"
    path.write_text(page.replace("</html>", f"<script>{script}</script></html>"), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
               "--dump-dom", path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert 'data-ready="yes"' in done.stdout, done.stderr[-2000:]
    return done.stdout


def _methods(dom: str, *, hidden: bool = False) -> list[str]:
    rows = re.findall(r"<tr([^>]*)>(.*?)</tr>", dom.split("<tbody>")[1].split("</tbody>")[0], re.DOTALL)
    shown = [cells for attributes, cells in rows if hidden or "hidden" not in attributes]
    return [re.findall(r"<td[^>]*>(.*?)</td>", cells)[1] for cells in shown]


def test_it_opens_and_draws(page: str, tmp_path: Path) -> None:
    dom = _open(page, tmp_path)
    assert _methods(dom) == ["seal", "passage &lt;i&gt;", "none"]
    assert dom.count("<svg") == 2
    assert dom.count("<polyline") == 3


def test_it_sorts_by_number_and_back(page: str, tmp_path: Path) -> None:
    click = "document.querySelectorAll('th button')[3].click();"
    assert _methods(_open(page, tmp_path, click)) == ["none", "passage &lt;i&gt;", "seal"]
    assert _methods(_open(page, tmp_path, click * 2)) == ["seal", "passage &lt;i&gt;", "none"]


def test_it_filters(page: str, tmp_path: Path) -> None:
    typed = "const box = document.getElementById('filter'); box.value = 'SEAL'; box.dispatchEvent(new Event('input'));"
    assert _methods(_open(page, tmp_path, typed)) == ["seal"]
    nothing = typed.replace("SEAL", "nobody")
    assert '<p id="none">' in _open(page, tmp_path, nothing)
