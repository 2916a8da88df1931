"""The task file shown in the documentation works."""

from __future__ import annotations

import re
from pathlib import Path

from tests.plugins.test_task_file import made, write

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_the_documented_task_file_loads(tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").split("`harness run --task ./my_task.toml`")[1]
    [text, *_] = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    write(tmp_path)
    (tmp_path / "handbook.json").write_bytes((tmp_path / "places.json").read_bytes())
    (tmp_path / "my_task.toml").write_text(text, "utf-8")
    task = made(tmp_path / "my_task.toml")
    assert task.name == "handbook"
    assert len(task.load("test")) >= 1
