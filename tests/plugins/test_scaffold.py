"""What ``harness plugins new`` writes: short, installable, and right under every rule of its contract."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.registry.discover import Plugins
from harness.registry.plugin import KINDS
from harness.testing import scaffold, two_items
from harness.testing.check import check


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a plugin that :func:`make` writes to a folder on the path."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return "my-idea"


def make(kind: str, name: str, folder: Path) -> Path:
    """Write a package and lay it out as an installer would; returns its module's file."""
    files = scaffold.write(name, kind, folder)
    project = tomllib.loads((folder / f"harness-{name}" / "pyproject.toml").read_text("utf-8"))
    module = files[0].parent
    site = folder / "site"
    info = site / f"harness_{kind}_{name.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1.0\n", "utf-8"
    )
    [(entry, target)] = project["project"]["entry-points"]["harness.plugins"].items()
    (info / "entry_points.txt").write_text(f"[harness.plugins]\n{entry} = {target}\n", "utf-8")
    (site / module.name).symlink_to(module)
    return files[0]


def test_every_kind_can_be_written(tmp_path: Path) -> None:
    assert set(scaffold.KINDS) == set(KINDS)
    for kind in scaffold.KINDS:
        module, test, project, readme = scaffold.write(f"my-{kind}", kind, tmp_path)
        assert len(module.read_text("utf-8").splitlines()) <= 48, f"{kind}: more than 48 lines"
        assert max(map(len, module.read_text("utf-8").splitlines())) <= 120
        for file in (module, test, project, readme):
            assert not re.search(r"@[A-Z_]+@", file.read_text("utf-8")), f"{file}: a name was not filled in"
        compile(test.read_text("utf-8"), str(test), "exec")


@pytest.mark.parametrize("kind", [kind for kind in scaffold.KINDS if kind != "method"])
def test_a_new_plugin_keeps_every_rule(tmp_path: Path, installed: str, kind: str) -> None:
    name = f"{installed}-{kind}"
    make(kind, name, tmp_path)
    broken = [outcome for outcome in check(name, run=False) if outcome.status == "failed"]
    assert not broken, broken
    method, plugin = Plugins().method(name)
    assert plugin.info.distribution == f"harness-{name}"
    assert method.components.get(kind, {"use": name})["use"] == name
    assert (method.protocol == name) == (kind == "protocol")


@pytest.mark.slow
@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_a_new_plugin_runs_from_end_to_end_on_the_lab(tmp_path: Path, installed: str, kind: str) -> None:
    name = f"{installed}-run-{kind}"
    make(kind, name, tmp_path)
    done = two_items(name, folder=tmp_path / "runs")
    assert done.complete
    assert [row.method for row in done.result.rows] == [name]


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("my-editor", "edtor", "there is no such kind. Did you mean 'editor'"),
        ("My Editor", "editor", "'My Editor' is not a plugin name"),
        ("../x", "editor", "is not a plugin name"),
        ("taken", "editor", "is there already"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, kind: str, said: str) -> None:
    (tmp_path / "harness-taken").mkdir()
    with pytest.raises(UsageError, match=said):
        scaffold.write(name, kind, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["harness-taken"]
