"""What a class must be to count as a component, what it may leave out, and a model made of two."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

import harness
from harness import api
from harness.api import Completion, Model, Request, State, Trained, TrainItem, WeightSource
from harness.books.artefacts import artefact
from harness.books.records import digest
from harness.books.store import WeightStore
from harness.cli import main
from harness.errors import PluginError, RunError
from harness.registry.build import BASES, build
from harness.registry.discover import Plugins
from harness.runs.arm import OpenRun
from harness.testing import ScriptedLM, components, open_session
from harness.testing.check import check
from harness.testing.scripted import made_up_weights

OPTIONAL = {
    api.Component: ["Settings", "nested", "meta_s", "ledger"],
    api.Task: ["evaluator", "public", "join", "remarks", "solutions", "test_on_all"],
    api.Model: [
        "name", "identity", "chunk", "wave", "profile", "memory", "merge", "over_long", "train", "borrow", "logprobs",
        "likelihoods", "hidden", "cannot_read", "local", "quote",
    ],
    api.RewardFunction: ["updates_per_edit"],
    api.Updater: ["wave", "rehearses", "continues"],
    api.Evaluator: ["metric", "local"],
    api.EvaluationProtocol: ["work"],
    api.Trainer: ["rounds", "candidates"],
}  # fmt: skip
REQUIRED: dict[type, list[str]] = {
    api.Task: ["name", "version", "metric", "load", "prompt", "expand", "extract", "same"],
    api.Model: ["base", "can", "generate"],
    api.Editor: ["propose"],
    api.RewardFunction: ["score"],
    api.Updater: ["accepts", "apply"],
    api.Evaluator: ["evaluate"],
    api.EvaluationProtocol: ["measure"],
    api.Trainer: ["run"],
}


def documented(cls: type) -> dict[str, str]:
    """Member -> its docstring in the source of a class."""
    [body] = ast.parse(inspect.getsource(cls)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for member, after in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
        if isinstance(member, ast.FunctionDef):
            found[member.name] = ast.get_docstring(member) or ""
        elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            found[member.target.id] = str(said.value) if isinstance(said, ast.Constant) else ""
    return found


@pytest.mark.parametrize("cls", OPTIONAL, ids=lambda cls: cls.__name__)
def test_what_may_be_left_out_has_a_default_and_says_so(cls: type) -> None:
    said = documented(cls)
    for name in OPTIONAL[cls]:
        assert hasattr(cls, name), f"{cls.__name__}.{name} has no default"
        assert said[name], f"{cls.__name__}.{name} is not documented"
    left = {name for name in said if name not in OPTIONAL[cls] + REQUIRED.get(cls, [])}
    assert not left, f"{cls.__name__}: {left} belong to neither list"


@pytest.mark.parametrize("cls", REQUIRED, ids=lambda cls: cls.__name__)
def test_what_may_not_be_left_out_is_abstract_or_an_attribute(cls: type) -> None:
    assert set(REQUIRED[cls]) == cls.__abstractmethods__ | {  # type: ignore[attr-defined]
        name for name in cls.__annotations__ if not hasattr(cls, name)
    }


def test_the_core_finds_nothing_by_getattr_that_is_not_in_the_contract() -> None:
    """``getattr(component, "name", default)`` would be a second, hidden contract."""
    members = {name for names in (*OPTIONAL.values(), *REQUIRED.values()) for name in names}
    root = Path(harness.__file__).parent
    for path in [file for file in root.rglob("*.py") if not {"engine", "testing"} & {*file.parts}]:
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        for call in calls:
            if isinstance(call.func, ast.Name) and call.func.id in ("getattr", "hasattr"):
                what = call.args[1]
                assert not (isinstance(what, ast.Constant) and what.value in members), f"{path}:{call.lineno}"


# --- what is refused, in one line ------------------------------------------------------------------------------------

HOOK = """
from harness import hookimpl
from harness.api import Editor, Model, Updater

@hookimpl
def harness_{kind}s():
    return {{"odd": "{module}:Odd"}}
"""


def plugin(folder: Path, kind: str, source: str) -> Path:
    file = folder / f"odd_{abs(hash((str(folder), source))) % 10**9}.py"
    file.write_text(HOOK.format(kind=kind, module=file.stem) + source, "utf-8")
    return file


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("editor", "class Odd:\n    def propose(self, asks, s): return []\n",
         r"editor 'odd': Odd does not derive from Editor; derive it: `from harness.api import Editor` "
         r"and `class Odd\(Editor\)` \(.*\.py:8\)"),
        ("editor", "def Odd(): pass\n", "editor 'odd': function does not derive from Editor"),
        ("editor", "HARNESS_API = 1\nclass Odd:\n    def propose(self, asks, s): return []\n",
         "editor 'odd' is written for API 1, and this harness has API 2"),
        ("editor", "class Odd(Updater):\n    def apply(self, jobs, s): return []\n", "does not derive from Editor"),
        ("editor", "class Odd(Editor):\n    def propse(self, asks, s): return []\n",
         "class Odd lacks propose, which every editor has"),
        ("updater", "class Odd(Updater):\n    def apply(self, jobs, s): return []\n",
         "updater 'odd' has no attribute 'accepts', which every updater has"),
        ("editor", "class Odd(Editor):\n    nested = {'a': 'model'}\n    def propose(self, asks, s): return []\n",
         "wraps a model, which only a model may do; it asks models through the session"),
        ("editor", "class Odd(Editor):\n    nested = {'a': 'editr'}\n    def propose(self, asks, s): return []\n",
         "nested has an unknown kind, 'editr'. Did you mean 'editor'"),
    ],
)  # fmt: skip
def test_a_class_that_is_no_component_is_refused_in_one_line(tmp_path: Path, kind: str, source: str, said: str) -> None:
    plugins = Plugins((plugin(tmp_path, kind, source),))
    with pytest.raises(PluginError, match=said) as refused:
        build(plugins, BASES[kind], {"use": "odd"}, kind)
    assert "\n" not in str(refused.value)


def test_the_command_line_refuses_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = plugin(tmp_path, "editor", "class Odd:\n    def propose(self, asks, s): return []\n")
    with pytest.raises(SystemExit) as left:
        main(["run", "--plugin", str(file), "--limit", "1", "--out", str(tmp_path / "runs"), "--set", "leaderboard="])
    said = capsys.readouterr().err
    assert left.value.code == 3
    assert "does not derive from Editor" in said
    assert "Traceback" not in said
    [outcome] = check(str(file), run=False)
    assert (outcome.status, "does not derive from Editor" in outcome.said) == ("failed", True)


def test_what_a_model_cannot_is_refused_by_default() -> None:
    class Mute(Model):
        base, can = "mute:1", frozenset({"generate"})

        def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
            return [[] for _ in asks]

    calls: list[Callable[[], Any]] = [
        lambda: Mute().logprobs([]),
        lambda: Mute().hidden([], layer=0),
        lambda: Mute().train([]),
        lambda: Mute().borrow(State("mute:1")),
    ]
    for call in calls:
        with pytest.raises(api.HarnessError, match=r"^mute:1 "):
            call()
    assert (Mute().over_long([], 1), Mute().memory(), Mute.Settings) == ("", None, None)


# --- one call for several models -------------------------------------------------------------------------------------


def test_generate_asks_each_request_of_its_own_model(tmp_path: Path) -> None:
    models = {name: ScriptedLM(lambda r, n, who=name: f"{who}: {r.prompt}{n}", name=name) for name in ("one", "two")}
    s = open_session(tmp_path, components.world(), models, components.slots())
    requests = [
        Request(State(models[who].base), prompt, n=n)
        for who, prompt, n in (("two", "a", 1), ("one", "b", 2), ("two", "c", 2), ("one", "d", 1))
    ]
    rows = s.sealed.generate(requests)
    assert [[one.text for one in row] for row in rows] == [
        ["two: a0"], ["one: b0", "one: b1"], ["two: c0", "two: c1"], ["one: d0"],
    ]  # fmt: skip
    assert [[one.request for one in row] for row in rows] == [[r] * r.n for r in requests]
    assert {name: len(model.asked) for name, model in models.items()} == {"one": 2, "two": 2}
    assert s.sealed.generate(requests) == rows, "answered from the journal"
    assert sum(len(model.asked) for model in models.values()) == 4
    assert s.sealed.generate([]) == []
    with pytest.raises(PluginError, match="asks a model that the run does not have"):
        s.sealed.generate([Request(State("three"), "e")])
    s.journal.close()


def test_a_finish_that_is_none_is_refused(tmp_path: Path) -> None:
    class Old(ScriptedLM):
        def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
            return [[Completion(ask, "", finish="failed: too long")] for ask in asks]  # type: ignore[arg-type]

    lm = Old({})
    s = open_session(tmp_path, components.world(), {"teacher": lm}, components.slots())
    with pytest.raises(PluginError, match="has the finish 'failed: too long'; it may be stop, length, failed, error"):
        s.sealed.generate([Request(State(lm.base), "x")])
    s.journal.close()


# --- a model made of two ---------------------------------------------------------------------------------------------


class FromFiles(ScriptedLM):
    """Answers with the contents of the folders of a state's adapters, as an adapter server would."""

    Settings = None

    def __init__(self, weights: WeightSource) -> None:
        super().__init__(self._read, name="from-files", can=frozenset({"generate"}))
        self.weights = weights

    def _read(self, request: Request, index: int) -> str:
        return " ".join(
            digest((self.weights.folder(one) / "adapter_model.safetensors").read_bytes().hex())[:8]
            for one in request.state.adapters
        )


@dataclass(frozen=True)
class Limits:
    memory: api.JSON = field(default_factory=dict)


class ToFiles(ScriptedLM):
    """Trains as if in another process, which leaves a folder for every adapter."""

    Settings = Limits

    def __init__(self, settings: Limits, weights: WeightStore) -> None:
        super().__init__({}, name="to-files", can=frozenset({"train"}))
        self.given = settings.memory
        self.folder = weights.root.parent / "trained"

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        for item in items:
            folder = self.folder / item.id
            folder.mkdir(parents=True, exist_ok=True)
            artefact(*made_up_weights(digest([item.seed, list(item.data)]))).save(folder)
            yield Trained(item.id, folder, log={"steps": 1, "tokens": 1})

    def memory(self) -> api.JSON:
        return {"rows": 3}


HALVES = """
from tests.contract.test_components import FromFiles, ToFiles
from harness import hookimpl

@hookimpl
def harness_models():
    return {"from-files": FromFiles, "to-files": ToFiles}
"""
PAIR = Path(__file__).parents[2] / "docs" / "examples" / "two_engines.py"


TABLE = {"use": "two-engines", "answers": "from-files", "trains": {"use": "to-files"}}


def halves(folder: Path) -> Plugins:
    file = folder / f"halves_{abs(hash(str(folder))) % 10**9}.py"
    file.write_text(HALVES, "utf-8")
    return Plugins((PAIR, file))


def pair(folder: Path) -> tuple[Any, WeightStore]:
    weights = WeightStore(folder / "weights")
    built = build(halves(folder), Model, TABLE, "model", weights)
    assert sorted(built.nested) == ["answers", "trains"]
    assert built.identity["nested"]["trains"]["component"] == "to-files"
    return built.instance, weights


def test_one_backend_answers_what_the_other_has_learnt(tmp_path: Path) -> None:
    model, weights = pair(tmp_path)
    assert model.can == {"generate", "train"}
    slots = {**components.slots(), "updater": ("updater", components.Fit())}
    s = open_session(tmp_path, components.world(), {"student": model}, slots, weights=weights)
    start = s.roles["student"]
    job = api.UpdateJob("j", start, (api.SelfEdit("e", "Alder", (api.Example("", "text"),)),), 0)
    [done] = s.update("updater", [job])
    assert done.state is not None
    assert len(done.state.adapters) == 1
    [[learnt], [bare]] = s.sealed.generate([Request(done.state, "x"), Request(start, "x")])
    assert (len(learnt.text), bare.text) == (8, "")
    [episode] = s.episodes("train", 1)
    [scores] = s.trial([api.TrialJob(job, (episode,))])
    assert {score.status for score in scores} == {"ok"}
    assert [path.name for path in weights.root.iterdir()] == list(done.state.adapters), "a trial leaves nothing behind"
    s.journal.close()


def test_the_batch_limits_of_a_nested_model_are_recorded_and_given_back(tmp_path: Path) -> None:
    plugins, unused = halves(tmp_path), cast(Any, None)
    for given in ({}, {"rows": 3}, {"rows": 3}):
        s = open_session(tmp_path / "run", components.world(), {"teacher": ScriptedLM({})}, components.slots())
        model: Any = OpenRun(plugins, unused, s.context, unused).open_model(TABLE)
        assert model.trains.given == given
        s.journal.close()


def test_a_folder_of_weights_goes_with_them(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    name = store.put(artefact(*made_up_weights("a")))
    passing = store.folder(name)
    assert sorted(path.name for path in passing.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert store.folder(name) == passing
    store.persist(name)
    assert (passing.exists(), store.folder(name)) == (False, store.path(name))
    other = store.put(artefact(*made_up_weights("b")))
    gone = store.folder(other)
    store.drop(other)
    assert not gone.exists()
    with pytest.raises(RunError, match="were released"):
        store.folder(other)


def test_a_folder_that_holds_no_adapter_is_named(tmp_path: Path) -> None:
    class Empty(ScriptedLM):
        def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
            yield from (Trained(item.id, tmp_path / "nowhere") for item in items)

    lm = Empty({})
    s = open_session(tmp_path, components.world(), {"student": lm}, components.slots())
    job = api.UpdateJob("j", State(lm.base), (api.SelfEdit("e", "Alder", (api.Example("", "text"),)),), 0)
    with pytest.raises(PluginError, match="nowhere, which cannot be read"):
        s.update("updater", [job])
    s.journal.close()


# --- what mypy sees --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_mypy_sees_what_a_built_component_is(tmp_path: Path) -> None:
    source = tmp_path / "seen.py"
    source.write_text(
        "from harness.api import Editor, Completion, Request, Task\n"
        "from harness.registry.build import build\n"
        "from harness.registry.discover import Plugins\n"
        "editor = build(Plugins(), Editor, {}, 'editor')\n"
        "editor.instance.evaluate([])\n"
        "build(Plugins(), Task, {}, 'task').instance.load('tset')\n"
        "def short(request: Request) -> Completion:\n"
        "    return Completion(request, '', finish='failed: too long')\n",
        "utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(source)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in done.stdout.splitlines() if "seen.py" in line]
    assert '"Editor" has no attribute "evaluate"' in said[0]
    assert "incompatible type \"Literal['tset']\"" in said[1]
    assert "incompatible type \"Literal['failed: too long']\"" in said[2]
    assert len(said) == 3
