"""Every preset of every method that ships: each of its tables names a component that exists, and settings it has."""

from __future__ import annotations

import pytest

from harness.registry.build import resolve
from harness.registry.discover import Plugins
from harness.runs import config as configuration


def shipped() -> list[tuple[str, str]]:
    plugins = Plugins()
    mine = [name for name, found in plugins.names("method").items() if found.distribution == "selfadapt-harness"]
    return [(name, preset) for name in sorted(mine) for preset in sorted(plugins.method(name)[0].presets)]


@pytest.mark.parametrize(("method", "preset"), shipped())
def test_every_table_of_every_row_resolves(method: str, preset: str) -> None:
    plugins = Plugins()
    found = configuration.resolve({"method": method, "preset": preset, "model": "hf:some/model"}, plugins)
    resolve(plugins, "task", found.task, "task")
    for arm in found.arms:
        for name, table in arm.slots.items():
            settings = {key: value for key, value in table.items() if key != "kind"}
            resolve(plugins, str(table["kind"]), settings, name)


def test_every_method_has_a_quick_preset() -> None:
    every = {method for method, _ in shipped()} | {
        name for name, found in Plugins().names("method").items() if found.distribution == "selfadapt-harness"
    }
    assert every == {method for method, preset in shipped() if preset == "quick"}


def test_all_quick_methods_on_passages_are_run_together_with_one_outer_loop() -> None:
    config = configuration.resolve({"method": "seal", "preset": "quick", "all": True, "model": "lab"}, Plugins())
    names = {arm.method.name for arm in config.arms}
    assert {"seal", "proxy-reward", "gpt-editor", "entigraph", "generative-adapter", "none", "icl"} <= names
    assert not names & {"seal-grpo", "lasting", "chain", "recorded", "ttrl", "seal-arc"}


@pytest.mark.parametrize(("method", "model"), [("seal", "lab"), ("lmsi", "lab-maths"), ("gpt-editor", "lab")])
def test_a_method_without_a_model_takes_the_one_that_it_has_settings_for(method: str, model: str) -> None:
    assert configuration.resolve({"method": method}, Plugins()).model["use"] == model
    assert configuration.resolve({"method": method, "model": "lab"}, Plugins()).model["use"] == "lab"
