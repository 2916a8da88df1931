"""What plugins rely on is only added to: hooks and their arguments, records and their fields, protocols' methods.

``contract-N.json`` is version N of the contract as it was released. After an addition, which the changelog names,
record it again: ``python -m tests.contract.test_stability``.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

from harness import api, events, hookspecs

RECORD = Path(__file__).with_name(f"contract-{api.API_VERSION}.json")


def contract() -> dict[str, Any]:
    """Every name that a plugin may use, with its signature."""
    records = {
        name: [field.name for field in dataclasses.fields(value)]
        for module in (api, events)
        for name, value in vars(module).items()
        if dataclasses.is_dataclass(value) and value.__module__ == module.__name__
    }
    protocols = {name: _members(value) for name, value in vars(api).items() if _is_kind(value)}
    hooks = {
        name: list(inspect.signature(spec).parameters)
        for name, spec in vars(hookspecs).items()
        if name.startswith("harness_")
    }
    return {"hooks": hooks, "records": records, "protocols": protocols}


def _is_kind(value: Any) -> bool:
    """Whether plugins derive from it, or are handed an instance."""
    kinds = isinstance(value, type) and (getattr(value, "_is_protocol", False) or issubclass(value, api.Component))
    return kinds and value.__module__ == api.__name__


def _members(kind: type) -> dict[str, list[str]]:
    """Methods with their arguments, and attributes."""
    values = {name: ["<value>"] for name in inspect.get_annotations(kind) if not name.startswith("_")}
    methods = {
        name: list(inspect.signature(function).parameters)
        for name, function in vars(kind).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }
    return values | methods


def test_nothing_was_taken_away_or_moved() -> None:
    before, now = json.loads(RECORD.read_text("utf-8")), contract()
    for hook, arguments in before["hooks"].items():
        assert set(arguments) <= set(now["hooks"].get(hook, ())), f"hook {hook} lost an argument, or is gone"
    for record, fields in before["records"].items():
        assert now["records"].get(record, [])[: len(fields)] == fields, f"{record}: fields are only added, at the end"
    for protocol, methods in before["protocols"].items():
        for method, arguments in methods.items():
            kept = now["protocols"].get(protocol, {}).get(method, [])
            assert kept[: len(arguments)] == arguments, f"{protocol}.{method}: arguments are only added, at the end"


def test_what_was_added_is_recorded() -> None:
    recorded = json.loads(RECORD.read_text("utf-8"))
    assert recorded == contract(), (
        f"the contract was added to: name it in docs/changelog.md and run `python -m {__spec__.name}`"
    )


def test_an_added_field_has_a_default() -> None:
    """Fields without a default belong to the first release; a later one would break all code that makes the record."""
    before = json.loads(RECORD.read_text("utf-8"))["records"]
    for module in (api, events):
        for name, fields in before.items():
            for field in dataclasses.fields(getattr(module, name)) if hasattr(module, name) else ():
                bare = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
                assert field.name in fields or not bare, f"{name}.{field.name} has no default"


def test_the_changelog_speaks_of_this_version() -> None:
    text = (Path(__file__).parents[2] / "docs" / "changelog.md").read_text("utf-8")
    from harness import __version__

    assert f"\n## {__version__}\n" in text
    assert f"*Contract*: API version {api.API_VERSION}" in text


if __name__ == "__main__":
    RECORD.write_text(json.dumps(contract(), indent=1) + "\n", "utf-8")
