"""A plugin that is broken in any way is reported by name, distribution and line, and does not affect others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import PluginError, UsageError
from harness.registry.discover import Plugins
from tests.plugins.made_up import BROKEN, GOOD, SAID, install

Says = Callable[..., tuple[int, str, str]]


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        seen = capsys.readouterr()
        return int(left.value.code or 0), seen.out, seen.err

    return call


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path that holds a working plugin."""
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "good", GOOD)
    return tmp_path


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_plugin_is_reported_with_its_place(place: Path, says: Says, how: str) -> None:
    file = install(place, how, BROKEN[how])
    expected = re.escape(SAID[how]).replace(r"\{file\}", re.escape(str(file))).replace(r"\{any\}", ".*")
    named = rf"plugin '{how}' \(dist-of-{how} 2\.5, {file.stem}\)"

    code, out, err = says("plugins", "why", how)
    assert (code, out) == (3, "")
    assert err.count("\n") == 1, "one line"
    assert re.search(expected, err), err
    assert re.search(named, err), err

    code, out, _ = says("list", "plugins", "--verbose")
    assert code == 0
    assert re.search(expected, out), out
    assert "good-editor" in out, "the others are shown"
    code, out, _ = says("list", "plugins")
    assert (code, f"dist-of-{how}" in out) == (0, True), "without importing it"

    code, _, err = says("run", "--plugin", how)
    assert code == 3
    assert re.search(expected, err), err
    code, _, err = says("run", "--plugin", "unheard-of")
    assert (code, f"(broken: `harness plugins why {how}`)" in err) == (2, True), err
    plugins = Plugins()
    assert plugins.method("good")[0].components["editor"] == {"use": "good-editor"}
    assert "good-editor" in plugins.names("editor")


def test_all_of_them_together_leave_the_command_line_working(tmp_path: Path) -> None:
    for how, source in BROKEN.items():
        install(tmp_path, how, source)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for words in (["--help"], ["list", "plugins"], ["list", "plugins", "--verbose"], ["plugins", "why", "seal"]):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), words
    assert "is found and can be used" in done.stdout


def test_two_plugins_of_one_name_are_refused_and_both_named(place: Path, says: Says) -> None:
    install(place, "good", GOOD, distribution="an-impostor", target="impostor")
    both = r"plugin 'good' \((dist-of-good|an-impostor) 2\.5, \w+\) and plugin 'good' \((dist-of-good|an-impostor) 2\.5"
    for words in (("plugins", "why", "good"), ("run", "--plugin", "good")):
        code, _, err = says(*words)
        assert code == 3
        assert re.search(both, err), err
    code, out, _ = says("list", "plugins")
    assert code == 0
    assert re.search("refused: .*" + both, out), out
    assert Plugins().method("seal")[0].name == "seal"


def test_two_plugins_with_a_component_of_one_name_are_refused(place: Path) -> None:
    for name in ("first", "second"):
        install(place, name, GOOD.replace("good_plugin", f"{name}_plugin").replace("good-editor", "popular"))
    with pytest.raises(PluginError, match=r"editor 'popular' is provided by plugin 'first' .* and plugin 'second'"):
        Plugins().component("editor", "popular")


def test_a_component_that_is_not_where_the_hook_says(place: Path, says: Says) -> None:
    file = install(place, "astray", GOOD.replace("good_plugin:Good", "astray_plugin:Godo"))
    code, _, err = says("plugins", "why", "astray")
    assert code == 3
    assert f"editor 'good-editor' = 'astray_plugin:Godo': there is no 'Godo' in {file}. Did you mean 'Good'" in err


def test_why_a_plugin_is_not_found(place: Path, says: Says) -> None:
    install(place, "lost", GOOD, group="harness.plugin", target="lost")
    install(place, "renamed", GOOD, distribution="renaming", target="renaming")
    (place / "loose.py").write_text("", "utf-8")
    for name, said in {
        "lost": "dist-of-lost registers 'lost' in the wrong group, 'harness.plugin': write",
        "renaming": "the distribution renaming 2.5 is installed, and its plugins are called 'renamed'",
        "pluggy": 'is installed, but registers no plugin: add [project.entry-points."harness.plugins"]',
        "loose": "a module 'loose' can be imported, but no installed distribution registers it",
        "gut": f"no plugin named 'gut' is installed in this environment ({sys.prefix})",
    }.items():
        code, _, err = says("plugins", "why", name)
        assert (code, said in err) == (2, True), err


def test_why_of_a_component_says_whose_it_is(place: Path, says: Says) -> None:
    code, out, _ = says("plugins", "why", "good-editor")
    assert code == 0
    assert "is not a plugin but an editor of plugin 'good' (dist-of-good 2.5, good_plugin)" in out
    assert "use it with --set editor.use=good" in out


def test_a_file_may_not_take_the_name_of_a_module(tmp_path: Path) -> None:
    file = tmp_path / "random.py"
    file.write_text("", "utf-8")
    with pytest.raises(PluginError, match=r"there is already a module 'random'; rename random\.py"):
        Plugins((file,)).load("random")


def test_a_plugin_without_methods_runs_in_place_of_seals_parts(place: Path) -> None:
    reward = GOOD.replace("harness_editors", "harness_rewards").replace("good-editor", "generous")
    install(place, "generous", reward)
    method, plugin = Plugins().method("generous")
    assert (method.name, plugin.info.name) == ("generous", "generous")
    assert method.components["reward"] == {"use": "generous"}
    assert method.components["trainer"] == {"use": "restem"}
    assert all("reward" not in preset for preset in method.presets.values())
    install(place, "empty", "")
    with pytest.raises(UsageError, match="has no method to run, and no component"):
        Plugins().method("empty")
