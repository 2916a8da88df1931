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


def test_the_quick_set_holds_every_method_on_passages() -> None:
    quick = {method for method, preset in shipped() if preset == "quick"}
    assert {"seal", "proxy-reward", "gpt-editor", "entigraph", "generative-adapter"} <= quick
