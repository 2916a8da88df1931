"""The command stored in a result file resolves to the same configuration, whatever was given."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.cli.run import command as run_command
from harness.errors import UsageError
from harness.registry.discover import Plugins
from harness.runs import runner
from harness.runs.command import command
from harness.runs.config import resolve

_KEYS = st.sampled_from(["rank", "learning_rate", "a-b", "stop", "dotted.key", "two words"])
_TEXTS = st.text(st.characters(codec="ascii"), max_size=8) | st.sampled_from(
    ["true", "1", "5e-4", "nan", "1e200", "[]", " ", "it's", "é"]
)
_PLAIN = _TEXTS | st.booleans() | st.integers(-9, 9) | st.floats(-1e9, 1e9)
_VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=2), max_leaves=4
)
_TABLES = st.dictionaries(_KEYS, _VALUES, max_size=3)
_NAMED = st.builds(lambda use, rest: {"use": use, **rest}, st.sampled_from(["squad", "mine"]), _TABLES)
GIVEN = st.fixed_dictionaries(
    {"method": st.just("seal")},
    optional={
        "task": _NAMED | st.just("squad"),
        "protocol": _NAMED | st.just("cpt"),
        "model": _NAMED | st.just("lab"),
        "updater": _TABLES,
        "also": _TABLES,
        "limit": st.integers(0, 9),
        "seeds": st.integers(1, 9),
        "all": st.booleans(),
        "beside": st.lists(st.sampled_from(["icl", "none"]), max_size=2),
        "judge": st.just("f1"),
        "max_judge_cost": st.floats(0, 9),
        "max_cost": st.floats(0, 9),
        "samples": st.integers(1, 3),
    },
)


def _read(words: list[str], patch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[Path]]:
    """The configuration that the command line makes of its arguments, without running it."""
    seen: list[tuple[dict[str, Any], list[Path]]] = []

    def stop(config: dict[str, Any], *, plugin_files: Any, **_: Any) -> None:
        seen.append((config, list(plugin_files)))
        raise typer.Exit(0)

    app = typer.Typer()
    app.command()(run_command)
    with patch.context() as inside:
        inside.setattr(runner, "run", stop)
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return seen[0]


def _tables(config: dict[str, Any]) -> dict[str, Any]:
    """With ``"squad"`` as the table that it stands for, and without empty tables."""
    named = {key: {"use": config[key]} for key in ("task", "protocol") if isinstance(config.get(key), str)}
    return {key: value for key, value in {**config, **named}.items() if value not in ({}, "") and value is not False}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(GIVEN)
def test_the_command_gives_the_configuration_again(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]) -> None:
    words = shlex.split(command(config))
    assert words[:4] == ["harness", "run", "--plugin", "seal"]
    assert _tables(_read(words[2:], monkeypatch)[0]) == _tables(config)


def test_it_is_short_where_little_was_given() -> None:
    assert (
        command({"method": "seal", "out": "/tmp/x", "leaderboard": "", "reuse": "auto"}) == "harness run --plugin seal"
    )
    told = {
        "method": "icl",
        "limit": 8,
        "seeds": 3,
        "task": {"use": "squad", "data": "my file.json"},
        "updater": {"rank": 8},
    }
    assert command(told) == (
        "harness run --plugin icl --task squad --data 'my file.json' --limit 8 --seeds 3 --set updater.rank=8"
    )


def test_a_plugin_file_is_named_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "my own.py"
    file.write_text("")
    text = command({"method": "my own", "limit": 2}, [file])
    again, files = _read(shlex.split(text)[2:], monkeypatch)
    assert (again["limit"], files) == (2, [file])


@pytest.mark.parametrize(
    ("assignments", "model"),
    [
        ([], "./folder"),
        (["model.dtype=bfloat16", "model.chat=false"], {"use": "./folder", "dtype": "bfloat16", "chat": False}),
    ],
)
def test_settings_of_a_model_that_a_flag_names(
    monkeypatch: pytest.MonkeyPatch, assignments: list[str], model: Any
) -> None:
    words = ["--model", "./folder", *(word for one in assignments for word in ("--set", one))]
    assert _read(words, monkeypatch)[0]["model"] == model


def test_they_reach_the_configuration() -> None:
    plugins = Plugins()
    table = resolve({"method": "none", "model": {"use": "./folder", "dtype": "bfloat16"}}, plugins).model
    assert table == {"use": "hf", "path": "./folder", "dtype": "bfloat16"}
    assert resolve({"method": "none", "model": {"threads": 1}}, plugins).model == {"use": "lab", "threads": 1}
    with pytest.raises(UsageError, match=r"model.dtyp: no such setting of model 'hf'. Did you mean 'dtype'"):
        resolve({"method": "none", "model": {"use": "./folder", "dtyp": "bfloat16"}}, plugins)


def test_two_models_are_refused() -> None:
    app = typer.Typer()
    app.command()(run_command)
    done = CliRunner().invoke(app, ["--model", "lab", "--set", "model.path=./folder"])
    assert isinstance(done.exception, UsageError)
    assert "name two models" in str(done.exception)
