"""What all contracts share: how the component is made, the session it is tested in, and the rules for every kind."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from harness.api import Example, Request, Task
from harness.books.records import decode, digest, encode
from harness.books.store import WeightStore
from harness.errors import UsageError
from harness.registry.build import BASES, build
from harness.registry.discover import Plugins
from harness.registry.settings import check_settings
from harness.session.service import SessionService
from harness.testing import components
from harness.testing.scripted import ScriptedLM, open_session

T = TypeVar("T")
HEAVY = ("torch", "transformers", "numpy", "datasets", "peft", "scipy", "pandas")
"""Packages that a plugin's module may not import before one of its components is used."""
_WORDS = ["amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "knoll", "ledge"]


class Contract:
    """Subclass the contract of a kind, set ``component``, and run pytest.

    The defaults suit a component for passages of text. Override :meth:`task` for other contexts, and :meth:`answer`
    for prompts that need other answers.
    """

    kind: ClassVar[str]
    component: ClassVar[Any]
    """The class under test."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Its table as in a configuration file, without ``use`` and including nested components."""
    roles: ClassVar[Sequence[str]] = ()
    """Roles that it asks besides ``teacher`` and ``student``, such as ``judge``; the scripted model plays them all."""
    more_slots: ClassVar[Mapping[str, str]] = {}
    """Slots that it calls besides those that every method has: slot -> kind. A plain component stands in each."""
    sees: ClassVar[Literal["context", "context+queries"]] = "context"
    """What the card of the component's method says."""

    # --- what a subclass may override ---

    def make(self) -> Any:
        """A fresh instance with :attr:`settings`."""
        cls = self.component
        kinds: Mapping[str, str] = cls.nested
        own = {key: value for key, value in self.settings.items() if key not in kinds}
        made = check_settings(cls.Settings, own, self.kind, f"{self.kind} {cls.__name__!r}", kinds)
        nested = {name: self._nested(name, kind) for name, kind in kinds.items()}
        return cls(*([] if made is None else [made]), **nested)

    def task(self) -> Task:
        """The task whose episodes the component gets: four passages per split, each with two questions."""
        return components.world()

    def answer(self, request: Request, index: int) -> str:
        """What the model says: a numbered list of a few words, derived from the prompt and the sample's seed."""
        sampled = [request.seed, index] if request.temperature > 0 else []
        hexadecimal = digest([request.prompt, request.state, sampled])
        lines = [[_WORDS[int(hexadecimal[8 * line + at], 16) % len(_WORDS)] for at in range(6)] for line in range(3)]
        return "\n".join(f"{number}. {' '.join(line)}." for number, line in enumerate(lines, 1))

    # --- rules for every kind ---

    def test_settings_are_a_frozen_dataclass_with_defaults(self) -> None:
        """Configurations are checked against ``Settings``, if there is one; it is shown, and is part of every key."""
        settings: Any = self.component.Settings
        if settings is None:
            return
        frozen = getattr(getattr(settings, "__dataclass_params__", None), "frozen", False)
        assert frozen, f"{settings.__name__} is not a frozen dataclass: write @dataclass(frozen=True)"
        without_default = [
            field.name
            for field in dataclasses.fields(settings)
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        assert not without_default, f"these settings have no default: {', '.join(without_default)}"
        json.dumps(dataclasses.asdict(settings()), allow_nan=False)

    def test_importing_the_plugin_is_light(self) -> None:
        """``list plugins --verbose`` imports every plugin, so heavy packages must be imported where they are used."""
        module = self.component.__module__.partition(".")[0]
        file = getattr(sys.modules.get(module), "__file__", None)
        where = str(Path(file).parent.parent if file and file.endswith("__init__.py") else Path(file or ".").parent)
        code = (
            f"import sys; sys.path.insert(0, {where!r}); import harness.api, {module}; "
            f"print(*[m for m in {HEAVY!r} if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"import {module} fails: {done.stderr.strip().splitlines()[-1:]}"
        assert not done.stdout.strip(), f"import {module} imports {done.stdout.strip()}: move it into the functions"

    # --- for the contracts of the kinds ---

    def lm(self, **more: Any) -> ScriptedLM:
        """The scripted model that answers with :meth:`answer`."""
        return ScriptedLM(self.answer, **more)

    @contextmanager
    def session(
        self, folder: Path, lm: Any = None, weights: WeightStore | None = None, **slots: tuple[str, Any]
    ) -> Iterator[SessionService]:
        """A real session in which every slot that is not given holds a plain component of :mod:`harness.testing`."""
        plain = components.slots()
        parts: dict[str, tuple[str, Any]] = {
            **plain, **{name: (kind, plain[kind][1]) for name, kind in self.more_slots.items()}, **slots
        }  # fmt: skip
        model = lm or self.lm()
        roles = {role: "@teacher" for role in ("student", *self.roles) if role != "teacher"}
        s = open_session(folder, self.task(), {"teacher": model}, parts, roles=roles, sees=self.sees, weights=weights)
        try:
            yield s
        finally:
            s.journal.close()

    def _nested(self, name: str, kind: str) -> Any:
        table = self.settings.get(name)
        if table is None:
            plain = components.slots()
            if kind not in plain:
                raise UsageError(f"it is made around a {kind}: name one in the contract's `settings`, under {name!r}")
            return plain[kind][1]
        return build(Plugins(), BASES[kind], {"use": table} if isinstance(table, str) else table, name).instance


def survives_json(records: Any, what: str) -> None:
    """Fail if records do not come back from the journal as they went in."""
    try:
        back = decode(json.loads(json.dumps(encode(records), allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{what} cannot be written to the journal: {error}") from error
    assert encode(back) == encode(records), f"{what} come back from the journal as something else"


def same(a: Any, b: Any, message: str) -> None:
    """Fail with both values if two lists of records differ."""
    if encode(a) != encode(b):
        raise AssertionError(f"{message}\n  once:  {encode(a)!r:.600}\n  again: {encode(b)!r:.600}")


def under_global_seed(seed: int, call: Callable[[], T]) -> T:
    """The call's result with the process's random generators seeded; fails if the call drew from one of them."""
    found = _states()
    _seed_all(seed)
    before = _states()
    try:
        result = call()
        after = _states()
    finally:
        _restore(found)
    for name, state in after.items():
        if name in before:
            assert state == before[name], (
                f"it draws from the global generator of {name}: results then depend on whatever ran before. "
                "Make a generator of your own from ask.seed, job.seed or s.seed(...)"
            )
    return result


def permuted(items: Sequence[T]) -> tuple[list[T], list[int]]:
    """The items in another order, and where each of them is now."""
    order = list(range(len(items)))
    random.Random(5).shuffle(order)
    if order == sorted(order):
        order.reverse()
    return [items[index] for index in order], [order.index(index) for index in range(len(items))]


def training_data(text: str) -> tuple[Example, ...]:
    """Something to learn."""
    return (Example("", text), Example("", f"It is said that {text}"))


def _seed_all(seed: int) -> None:
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def _states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy" in sys.modules:
        kind, keys, *rest = sys.modules["numpy"].random.get_state()
        states["numpy"] = (kind, keys.tolist(), *rest)
    if "torch" in sys.modules:
        states["torch"] = sys.modules["torch"].get_rng_state().tolist()
    return states


def _restore(states: Mapping[str, Any]) -> None:
    random.setstate(states["random"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "torch" in states:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.tensor(states["torch"], dtype=torch.uint8))
