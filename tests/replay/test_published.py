"""The shipped tables and the page about the logs are what the logs contain."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from harness_replay.published import result_files
from harness_replay.report import page

from harness.evidence.result_file import dumps
from tests.shared_data import shared

ROOT = Path(__file__).parents[2]


def test_the_shipped_rows_are_what_the_logs_give() -> None:
    made = result_files(shared("seal"))
    assert len(made) >= 6
    for found in made:
        shipped = ROOT / "leaderboards" / "published" / f"{found.run}.json"
        assert shipped.read_text(encoding="utf-8") == dumps(found), f"`harness replay rows` writes {shipped.name} again"


def test_versions_and_settings_are_kept_apart() -> None:
    versions = [found.task.version for found in result_files(shared("seal"))]
    assert len(set(versions)) == len(versions)


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    shipped = (ROOT / "docs" / "published-results.md").read_text(encoding="utf-8")
    assert page(shared("seal")) == shipped, "`harness replay report` writes it again"


def test_every_statement_of_the_page_has_its_command() -> None:
    shipped = (ROOT / "docs" / "published-results.md").read_text(encoding="utf-8")
    statements = re.findall(r"^- .*\n\n(.*)$", shipped, re.MULTILINE)
    assert len(statements) > 15
    assert all(command.startswith("      harness ") for command in statements)
