"""The generated reference is current, and nothing public is missing from it."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import harness
from harness import api, cli, errors, events
from harness.evidence import result
from harness.judges.base import JUDGES
from harness.models import loss_settings
from harness.registry.build import BASES
from harness.registry.build import resolve as resolve_table
from harness.registry.catalogue import entries, settings_in
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.runs.options import AlsoSettings, Options
from harness.runs.tables import parse_set
from harness.runs.variants import VariantSettings

DOCS = Path(__file__).parents[2] / "docs"


@cache
def generated() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


@cache
def page(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text("utf-8")


def section(name: str, heading: str) -> str:
    """The part of a page under a heading, up to the next one of its level or above."""
    found = re.search(rf"(?ms)^(#+) {re.escape(heading)}$(.*?)(?=^#{{1,3}} |\Z)", page(name))
    assert found, f"{name} has no heading {heading!r}"
    return found[2]


def item(text: str, name: str) -> str:
    """What a list says of a name, after its type and default; an entry without a word fails."""
    found = re.search(rf"(?m)^- `{re.escape(name)}` \(`.*?\)(?:: (.*))?$", text)
    assert found, f"{name} is not described"
    return found[1] or ""


@pytest.mark.parametrize("name", ["index", "records", "components", "configuration", "commands", "python"])
def test_the_pages_are_current(name: str) -> None:
    assert set(generated()) == {f"reference/{path.name}" for path in (DOCS / "reference").glob("*.md")}
    assert page(name) == generated()[f"reference/{name}.md"], "run `python docs/build_plugins.py`"


def public(module: Any) -> list[str]:
    """Names that a module defines itself, aliases and constants included."""
    defined = []
    for node in ast.parse(inspect.getsource(module)).body:
        names = [node.name] if isinstance(node, ast.ClassDef | ast.FunctionDef) else []
        if isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            names = [one.id for one in targets if isinstance(one, ast.Name)]
        defined += [name for name in names if not name.startswith("_")]
    return defined


@pytest.mark.parametrize(("module", "name"), [(api, "records"), (events, "records")], ids=["api", "events"])
def test_every_record_and_every_member_is_described(module: Any, name: str) -> None:
    assert len(public(module)) >= 3
    for one in public(module):
        text = section(name, one)
        value = getattr(module, one)
        members = {**vars(value), **vars(value).get("__annotations__", {})} if isinstance(value, type) else {}
        for member in members:
            if not member.startswith("_"):
                assert re.search(rf"(?m)^- `{member}[`(]", text), f"{one}.{member}"


def test_every_error_and_every_record_of_a_result_is_described() -> None:
    for one in public(errors):
        if isinstance(getattr(errors, one), type):
            assert section("records", one)
    for one in public(result):
        value = getattr(result, one)
        if isinstance(value, type):
            for field in dataclasses.fields(value):
                assert f"`{field.name}`" in section("python", one)


@pytest.mark.parametrize("kind", BASES)
def test_every_component_and_every_setting_is_described(kind: str) -> None:
    plugins = Plugins()
    mine = [entry for entry in entries(kind, plugins) if entry.plugin.distribution == "selfadapt-harness"]
    assert mine
    for entry in mine:
        text = section("components", f"{kind} `{entry.name}`")
        cls = plugins.component(kind, entry.name).cls
        for setting in settings_in(cls.Settings):
            assert item(text, setting.name), f"{kind} {entry.name}.{setting.name} does not say what it means"
        for name in cls.nested:
            assert item(text, name)


def test_every_method_with_its_presets_is_described() -> None:
    plugins = Plugins()
    for entry in entries("method", plugins):
        if entry.plugin.distribution == "selfadapt-harness":
            method, _ = plugins.method(entry.name)
            [line] = [one for one in page("components").splitlines() if one.startswith(f"- `{entry.name}`: ")]
            assert all(f"`{preset}`" in line for preset in method.presets)
            assert all(f"| `{preset}` |" in page("configuration") for preset in method.presets)


@pytest.mark.parametrize(
    ("heading", "cls"),
    [
        ("Keys of a run", Options),
        ("Further measures: `also`", AlsoSettings),
        ("Variants", VariantSettings),
        ("Loss `dpo`", loss_settings.DpoSettings),
        ("Loss `grpo`", loss_settings.GrpoSettings),
        ("Loss `rloo`", loss_settings.RlooSettings),
    ],
)
def test_every_key_of_a_configuration_is_described(heading: str, cls: type) -> None:
    for setting in settings_in(cls):
        assert item(section("configuration", heading), setting.name), f"{heading}: {setting.name}"


def test_every_judge_is_described() -> None:
    assert all(f"- `{judge}`: " in section("configuration", "Judges") for judge in JUDGES)


def test_every_command_and_every_option_is_described() -> None:
    own = {n for n, (plugin, _) in Plugins().commands().items() if plugin.info.distribution == "selfadapt-harness"}
    for verb in {*cli._VERBS, *own}:
        found = typer.main.get_command(cli.build_app(verb)).commands[verb]  # type: ignore[attr-defined]
        for name, one in getattr(found, "commands", {"": found}).items():
            text = section("commands", f"{verb} {name}".strip())
            for option in (option for part in one.params for option in part.opts if option.startswith("--")):
                assert option == "--help" or f"`{option}`" in text, f"harness {verb} {name} {option}"


def test_every_name_of_the_package_is_described() -> None:
    for name in set(harness.__all__) - {"hookimpl", "Run"}:
        signature = inspect.signature(getattr(harness, name))
        text = section("python", f"harness.{name}")
        assert all(re.search(rf"\b{one}\b", text) for one in signature.parameters)
    text = section("python", "Run")
    assert all(f"`{field.name}`" in text for field in dataclasses.fields(harness.Run))


def test_the_example_of_a_configuration_resolves() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", page("configuration"), re.DOTALL)
    config = resolve(tomllib.loads(text), Plugins())
    assert [one.name for one in config.also] == ["probability", "known"]
    assert "seal-rewrite" in [arm.method.name for arm in config.arms]


def test_the_example_of_a_loss_resolves() -> None:
    [text] = re.findall(r"--set '(policy\.loss=.*?)'", page("configuration"))
    plugins = Plugins()
    [arm, *_] = resolve({"method": "seal", **parse_set([text])}, plugins).arms
    table = {key: value for key, value in arm.slots["policy"].items() if key != "kind"}
    assert resolve_table(plugins, "updater", table, "policy")["loss"]["clip_high"] == 0.28
