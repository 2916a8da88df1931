"""lm-eval's tasks on any state, and a run's policy in lm-eval: the same numbers as its own Hugging Face model's."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from harness_lm_eval.evaluator import LmEval, metric_of
from harness_lm_eval.library import load
from harness_lm_eval.requests import generation, pair
from harness_lm_eval.task import LmEvalSettings, LmEvalTask

import harness
from harness.api import Ask, Score, State
from harness.errors import UsageError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from tests.lm_eval import tasks
from tests.models import tiny
from tests.models.conftest import Weights, random_adapter

lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra lm-eval)")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model whose tokenizer adds a start token, and one whose does not."""
    return tiny.write(tmp_path_factory.mktemp(request.param) / "model", request.param)


def opened(folder: Path, weights: Weights | None = None) -> HfModel:
    return HfModel(HfSettings(path=str(folder), device="cpu"), weights or Weights())


def evaluated(task: LmEvalTask, model: Any, states: list[State]) -> list[list[Score]]:
    """The scores of every state, on every task."""
    episodes = task.load("test")
    session: Any = SimpleNamespace(
        task=task, lm=lambda state: model, generate=lambda requests: model.generate(requests) if requests else []
    )
    asks = [Ask(state, episode) for state in states for episode, _ in episodes]
    references = {episode.id: golds for episode, golds in episodes}
    return [list(row) for row in LmEval().evaluate(asks, references, session)]


def by_lm_eval(path: Path, folder: Path, **more: Any) -> list[dict[str, Any]]:
    """The logged samples of lm-eval's own model."""
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    out = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4),
        tasks=[str(path)],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        **more,
    )
    [samples] = out["samples"].values()
    return list(samples)


@pytest.mark.parametrize(
    ("yaml", "metric"),
    [(tasks.CHOICES, "acc"), (tasks.CHOICES, "acc_norm"), (tasks.LAST_WORD, "acc"), (tasks.WRITTEN, "exact_match")],
)
def test_the_base_scores_as_lm_evals_own_model_does(tmp_path: Path, folder: Path, yaml: str, metric: str) -> None:
    path, model = tasks.write(tmp_path, yaml), opened(folder)
    [scores] = evaluated(LmEvalTask(LmEvalSettings(str(path), metric=metric)), model, [State(model.base)])
    theirs = by_lm_eval(path, folder)
    assert [one.query for one in scores] == [one["doc_hash"] for one in theirs]
    assert [one.value for one in scores] == [one[metric] for one in theirs]
    for sample in theirs:
        for arguments, [answer] in zip(sample["arguments"], sample["resps"], strict=True):
            if yaml == tasks.WRITTEN:
                [[mine]] = model.generate([generation(arguments, State(model.base), 0)])
                assert mine.text == answer
            else:
                [found] = model.likelihoods([(State(model.base), *pair(arguments))])
                assert sum(found.logprobs) == pytest.approx(answer[0], abs=1e-4)
                assert found.greedy == answer[1]


@pytest.mark.parametrize("yaml", [tasks.CHOICES, tasks.WRITTEN])
def test_a_chat_template_is_applied_as_lm_eval_does(tmp_path: Path, yaml: str) -> None:
    folder = tiny.write(tmp_path / "model", "qwen2", end="<|im_end|>", template=tiny.CHAT, seed=1)
    path, model = tasks.write(tmp_path, yaml), opened(folder)
    task = LmEvalTask(LmEvalSettings(str(path), num_fewshot=1, chat=True))
    assert task.version != LmEvalTask(LmEvalSettings(str(path), num_fewshot=1)).version
    theirs = by_lm_eval(path, folder, apply_chat_template=True, num_fewshot=1)
    [loaded] = load(task.spec).values()
    rendered = [model.prompts._render(pair(one.requests[0].args)[0]) for one in loaded.documents]  # type: ignore[arg-type]
    assert rendered == [one["arguments"][0][0] for one in theirs], "the very prompts"
    assert rendered[0].count("<|im_start|>user") == 2, "a worked example is a turn"
    [scores] = evaluated(task, model, [State(model.base)])
    if yaml == tasks.WRITTEN:
        assert [one.value for one in scores] == [one["exact_match"] for one in theirs]
        said = [
            model.generate([generation(one.requests[0].args, State(model.base), 0)])[0][0].text
            for one in loaded.documents
        ]
        assert said == [one["resps"][0][0] for one in theirs]
    else:
        assert [one.value for one in scores] == [one["acc"] for one in theirs]
    base = opened(tiny.write(tmp_path / "base"))
    with pytest.raises(UsageError, match="no chat template"):
        evaluated(task, base, [State(base.base)])


@pytest.mark.slow
def test_nine_states_over_a_hundred_documents_take_five_cpu_seconds(tmp_path: Path) -> None:
    """50 documents of compared choices and 50 of written answers, by the base and eight adapters of the lab model."""
    from harness_lab.lab_model import folder as lab

    weights = Weights()
    model = opened(lab(), weights)
    states = [State(model.base)]
    for seed in range(8):
        states.append(State(model.base, (weights.put(random_adapter(model, seed, size=0.01)),)))
    asked = [
        LmEvalTask(LmEvalSettings(str(tasks.write(tmp_path, yaml, name, 50))))
        for name, yaml in (("choices", tasks.CHOICES), ("written", tasks.WRITTEN))
    ]
    assert [len(task.load("test")[0][0].queries) for task in asked] == [50, 50]
    evaluated(asked[0], model, states[:1])
    began = time.process_time()
    rows = [evaluated(task, model, states) for task in asked]
    seconds = time.process_time() - began
    assert [len(scores) for row in rows for scores in row] == [50] * 18
    print(f"{seconds:.1f} CPU seconds")
    assert seconds < 5


def test_an_empty_context_is_a_start_token(folder: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32")
    request = Instance("loglikelihood", {}, ("", "Ada Marsh"), 0)
    model = opened(folder)
    [found] = model.likelihoods([(State(model.base), *pair(("", "Ada Marsh")))])
    assert sum(found.logprobs) == pytest.approx(theirs.loglikelihood([request])[0][0], abs=1e-4)


def test_greedy_says_what_decoding_would_write(folder: Path) -> None:
    from harness.api import Request

    model = opened(folder)
    state, prompts = State(model.base), ["Question: who", "The tower", "A list", "Ada Marsh", "in 1871"]
    said = [one.text for [one] in model.generate([Request(state, prompt, max_tokens=1) for prompt in prompts])]
    whole = [
        len(model.prompts.continuation_ids(prompt, text)[1]) == 1 for prompt, text in zip(prompts, said, strict=True)
    ]
    found = model.likelihoods([(state, prompt, text) for prompt, text in zip(prompts, said, strict=True)])
    assert [one.greedy for one, one_token in zip(found, whole, strict=True) if one_token] == [True] * sum(whole)
    assert sum(whole) >= 2
    others = model.likelihoods([(state, prompt, text + "~") for prompt, text in zip(prompts, said, strict=True)])
    assert not all(one.greedy for one in others)


def test_adapters_are_asked_in_one_call_and_say_before_and_after(tmp_path: Path, folder: Path) -> None:
    weights = Weights()
    model = opened(folder, weights)
    states = [State(model.base, (weights.put(random_adapter(model, seed, size=2.0)),)) for seed in (1, 2)]
    task = LmEvalTask(LmEvalSettings(str(tasks.write(tmp_path, tasks.CHOICES))))
    calls = []

    class Counting:
        base, can = model.base, model.can

        def likelihoods(self, asks: Any) -> Any:
            calls.append(len(asks))
            return model.likelihoods(asks)

    rows = evaluated(task, Counting(), states)
    assert calls == [3 * 6 * 3]  # the base and two adapters, six documents of three choices
    [base] = evaluated(task, model, [State(model.base)])
    for row in rows:
        assert [one.measures["before"] for one in row] == [one.value for one in base]
    asked = [(state, "Question: who built the tower?", " Ada Marsh") for state in (State(model.base), *states)]
    assert len({found.logprobs for found in model.likelihoods(asked)}) == 3
    [said] = task.remarks([[list(row) for row in rows]])
    before = 100 * sum(one.value or 0 for one in base) / 6
    after = 100 * sum(one.value or 0 for row in rows for one in row) / 12
    assert said == f"small_choices {before:.1f} before, {after:.1f} after, difference {after - before:+.1f}"


def test_global_generators_are_left_alone(tmp_path: Path, folder: Path) -> None:
    model = opened(folder)
    model.engine  # noqa: B018  (loading it is not what is measured)
    before = random.getstate(), numpy.random.get_state()[1].tolist(), torch.random.get_rng_state()  # type: ignore[index]
    evaluated(LmEvalTask(LmEvalSettings(str(tasks.write(tmp_path, tasks.WRITTEN)))), model, [State(model.base)])
    assert random.getstate() == before[0]
    assert numpy.random.get_state()[1].tolist() == before[1]  # type: ignore[index]
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_a_task_in_python(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "small.py"
    data = tasks.write(tmp_path, tasks.LAST_WORD, documents=1).with_suffix(".jsonl")
    path.write_text(tasks.PYTHON.replace("DATA", str(data)))
    model = opened(folder)
    [[score]] = evaluated(LmEvalTask(LmEvalSettings(str(path))), model, [State(model.base)])
    assert (score.episode, score.value, score.measures["doubled"]) == ("small_python", 0.0, 0.0)


def test_repeated_documents_stay_apart(tmp_path: Path) -> None:
    path = tasks.write(tmp_path, tasks.LAST_WORD, documents=1)
    data = path.with_suffix(".jsonl")
    data.write_text(data.read_text() * 2)
    [(episode, _)] = LmEvalTask(LmEvalSettings(str(path))).load("test")
    first, second = (query.id for query in episode.queries)
    assert second == f"{first}/2"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": ""}, "name a task"),
        ({"path": "nowhere.yaml"}, "no lm-eval task file at nowhere.yaml"),
        ({"metric": "acc_nrm"}, "no metric 'acc_nrm'. Did you mean 'acc_norm'"),
        ({"metric": "acc,loose"}, "has no filter 'loose'. There are: none"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, settings: Mapping[str, str], said: str) -> None:
    path = tasks.write(tmp_path, tasks.CHOICES)

    def asked() -> None:
        task = LmEvalTask(LmEvalSettings(**{"path": str(path), **settings}))
        metric_of(load(task.spec)["small_choices"], task.spec["metric"])

    with pytest.raises(UsageError) as error:
        asked()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_metric_that_is_no_share_is_refused(tmp_path: Path, folder: Path) -> None:
    task = LmEvalTask(LmEvalSettings(str(tasks.write(tmp_path, tasks.LAST_WORD)), metric="perplexity"))
    model = opened(folder)
    with pytest.raises(UsageError, match="metric 'perplexity' is better the smaller it is"):
        evaluated(task, model, [State(model.base)])


def test_missing_data_are_named(tmp_path: Path) -> None:
    path = tasks.write(tmp_path, tasks.CHOICES)
    path.with_suffix(".jsonl").unlink()
    with pytest.raises(UsageError, match=r"small.yaml' cannot be loaded: FileNotFoundError"):
        LmEvalTask(LmEvalSettings(str(path))).load("test")


def test_a_run_measures_it_and_lm_eval_measures_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, path = tiny.write(tmp_path / "model", positions=512), tasks.write(tmp_path, tasks.CHOICES)
    done = harness.run(
        {
            "method": "none",
            "model": {"use": "hf", "path": str(folder), "device": "cpu"},
            "task": {"use": "lab-facts", "test": 1},
            "beside": [],
            "also": {"small": {"task": {"use": "lm-eval", "path": str(path)}}},
            "out": str(tmp_path / "runs"),
            "leaderboard": "",
        }
    )
    table = done.result.tables[1]
    [row] = table.rows
    assert (table.name, table.evaluator, len(row.scores[0])) == ("small", "lm-eval", 6)
    assert any(note.startswith("small: small_choices ") and note.endswith("difference +0.0") for note in
               done.result.tables[0].rows[0].notes)  # fmt: skip

    from harness_lm_eval.lm import HarnessLM
    from lm_eval.tasks import TaskManager

    out = lm_eval.simple_evaluate(
        model=HarnessLM(run=str(done.folder), method="none"),
        tasks=[str(path)],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    assert out["results"]["small_choices"]["acc,none"] == pytest.approx(sum(map(float, row.scores[0])) / 6)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="needs the run's folder"):
        HarnessLM()
    with pytest.raises(UsageError, match="no argument 'pretrained'"):
        HarnessLM(run=str(done.folder), pretrained="x")
