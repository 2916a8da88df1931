"""The backend ``vllm`` against a stand-in server: same answers as ``hf``, and what each fault of a server comes to."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("tenacity")

from harness.api import Example, Request, State, TrainItem
from harness.engine import Adapter
from harness.errors import RunError, UsageError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.models.vllm.model import VllmModel
from harness.models.vllm.settings import VllmSettings
from tests.models.conftest import Weights, random_adapter
from tests.models.fake_vllm import FakeVllm, local, serve

TEXTS = ["The lighthouse at Kemble Point", "Question: who built the tower? Answer:", "A"]


@pytest.fixture
def fake(folders: Mapping[str, Path]) -> Iterator[FakeVllm]:
    with serve(FakeVllm(local(str(folders["llama"])))) as running:
        yield running


def vllm(fake: FakeVllm, weights: Weights, **settings: Any) -> VllmModel:
    given = {"path": fake.model.settings.path, "device": "cpu", "endpoint": fake.url, "retries": 1, **settings}
    return VllmModel(VllmSettings(**given), weights)  # type: ignore[arg-type]


def loads(fake: FakeVllm) -> list[str]:
    return [body["lora_name"] for path, body in fake.calls if path == "/v1/load_lora_adapter"]


def asks(model: HfModel, *stacks: tuple[str, ...], **fields: Any) -> list[Request]:
    given = {"max_tokens": 8, **fields}
    return [Request(State(model.base, stack), text, **given) for text in TEXTS for stack in stacks]


def test_one_model_with_the_local_digest_that_books_what_the_local_one_books(
    fake: FakeVllm, llama: HfModel, weights: Weights
) -> None:
    model = vllm(fake, weights)
    assert (model.base, model.can, model.name) == (llama.base, llama.can, llama.name)
    assert model.identity == {
        **llama.identity,
        "generates": {"engine": "vllm", "version": "0.32.0", "positions": llama.positions},
    }
    one, two = (weights.put(random_adapter(llama, seed)) for seed in (1, 2))
    mixed = asks(llama, (), (one,), (two,), (one, two))
    assert model.generate(mixed) == llama.generate(mixed), "texts, tokens, finish and cost are the engine's"
    assert len({row[0].text for row in model.generate(mixed)[:4]}) == 4
    sampled = asks(llama, (), (one,), n=2, temperature=0.8, top_p=0.9, seed=3)
    for mine, theirs in zip(model.generate(sampled), llama.generate(sampled), strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
            assert dataclasses.replace(a, logprobs=None) == dataclasses.replace(b, logprobs=None)
    stopped = asks(llama, (), (two,), stop=("e", "q"), max_tokens=20)
    assert model.generate(stopped) == llama.generate(stopped)
    assert {row[0].finish for row in model.generate(stopped)} >= {"stop"}


def test_likelihoods_are_the_local_ones_even_where_a_text_fills_the_context(
    fake: FakeVllm, llama: HfModel, weights: Weights
) -> None:
    model = vllm(fake, weights)
    one = weights.put(random_adapter(llama, 1))
    wanted = [(State(llama.base, stack), TEXTS[0], text) for stack in ((), (one,)) for text in (" was built", "A" * 30)]
    room = llama.positions - len(llama.prompts.prompt_ids("A"))
    full = "A" + "\n" * 1000
    ids = llama.prompts.text_ids(full)
    text = llama.prompts.decode(ids[len(llama.prompts.prompt_ids("A")) :][:room])
    before, after = llama.prompts.continuation_ids("A", text)
    assert len(before) + len(after) == llama.positions
    wanted.append((State(llama.base, (one,)), "A", text))
    for mine, theirs in zip(model.likelihoods(wanted), llama.likelihoods(wanted), strict=True):
        assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert mine.greedy == theirs.greedy
    best = [
        (one.request.state, one.request.prompt, one.text) for [one] in llama.generate(asks(llama, (), max_tokens=1))
    ]
    greedy = [one.greedy for one in model.likelihoods(best)]
    assert greedy == [one.greedy for one in llama.likelihoods(best)]
    assert any(greedy)


def test_adapters_are_named_by_their_digests_loaded_before_they_are_asked_and_never_in_place(
    fake: FakeVllm, llama: HfModel, weights: Weights, tmp_path: Path
) -> None:
    model = vllm(fake, weights, adapters=str(tmp_path))
    states = [(weights.put(random_adapter(llama, seed)),) for seed in range(7)]
    model.generate(asks(llama, (), *states))
    proven = len(fake.calls)
    model.generate(asks(llama, states[0], (), states[0], states[1]))
    again = fake.calls[proven:]
    kinds = [path.rpartition("/")[2] for path, _ in again]
    assert kinds.index("completions") == max(i for i, kind in enumerate(kinds) if kind.startswith("load")) + 1
    assert all(body["model"] in fake.loaded for _, body in again if "model" in body)
    assert all("load_inplace" not in body for _, body in fake.calls)
    assert all(body["model"] != "base" for path, body in fake.calls if path == "/v1/completions")
    folders = {name: folder for name, (folder, _) in fake.loaded.items()}
    assert all(Path(folder).name == name for name, folder in folders.items())
    assert len(fake.loaded) <= fake.max_loras < fake.most_loaded <= 2 * fake.max_loras, "old ones are given up"
    assert sorted(path.name for path in next(tmp_path.iterdir()).iterdir()) == sorted(folders)
    names = {weights.kept[stack[0]].digest(): loads(fake) for stack in states}
    assert len(set(loads(fake))) == len(names) + 4, "seven states, the base, two canaries and the probe of the rank"
    del model
    gc.collect()
    assert not fake.loaded
    assert not list(tmp_path.iterdir())


def test_a_rank_above_the_servers_is_refused_before_anything_is_trained_on_it(
    fake: FakeVllm, llama: HfModel, weights: Weights
) -> None:
    fake.max_rank = 8
    model = vllm(fake, weights)
    item = TrainItem("j", State(llama.base), (Example("", "a text"),), 0, {"rank": 16})
    with pytest.raises(UsageError, match=r"rank 16 exceeds .* maximum, 8; .*--max-lora-rank 16"):
        list(model.train([item]))
    six = weights.put(random_adapter(llama, 1, rank=6)), weights.put(random_adapter(llama, 2, rank=6))
    model.generate(asks(llama, six[:1]))
    with pytest.raises(UsageError, match="rank 12 exceeds"):
        model.generate(asks(llama, six))
    assert [done.status for done in model.train([dataclasses.replace(item, settings={"rank": 8})])] == ["ok"]


def test_a_restarted_server_is_proven_and_loaded_again(fake: FakeVllm, llama: HfModel, weights: Weights) -> None:
    model = vllm(fake, weights)
    one = weights.put(random_adapter(llama, 1))
    wanted = asks(llama, (), (one,))
    model.prove()
    fake.restart_after = [fake.completions + 2]
    before = fake.completions
    assert model.generate(wanted) == llama.generate(wanted)
    assert fake.completions - before > 16, "the canaries were asked again"
    fake.restart_after = list(range(fake.completions, fake.completions + 10_000))
    with pytest.raises(RunError, match="forgets adapters as soon as"):
        model.generate(wanted)


def test_another_server_in_the_place_of_the_first_is_refused(fake: FakeVllm, llama: HfModel, weights: Weights) -> None:
    model = vllm(fake, weights)
    model.prove()
    fake.restart_after, fake.version = [fake.completions], "0.33.0"
    with pytest.raises(UsageError, match="another server"):
        model.generate(asks(llama, ()))


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        ({"takes_adapters": False}, "takes no adapters at run time .*404.*harness serve vllm"),
        ({"sees_files": False}, "does not see .* set model.adapters to a folder that both see"),
        ({"refuses": "expected target modules in ['lm_head']"}, "refuses an adapter .*expected target modules"),
        ({"mixes_up": True}, r"[0-7] of 8 base and 8 of 8 adapter answers .*mixes adapters up"),
        ({"processed": True}, "8 of 8 base and 8 of 8 .*--logprobs-mode raw_logprobs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_server_that_is_not_right_is_refused_before_anything_is_spent(
    fake: FakeVllm, weights: Weights, faults: Mapping[str, Any], why: str
) -> None:
    for name, value in faults.items():
        setattr(fake, name, value)
    with pytest.raises(UsageError, match=why):
        _ = vllm(fake, weights).identity


def test_other_weights_fail_the_canaries(folders: Mapping[str, Path], weights: Weights) -> None:
    with serve(FakeVllm(local.__wrapped__(str(folders["llama"])))) as fake:
        head = fake.engine.model.get_output_embeddings().weight
        head.data[7] += 0.5
        with pytest.raises(UsageError, match=r"does not answer as the model .*other weights"):
            _ = vllm(fake, weights).identity


def test_what_is_no_vllm_server_is_refused(llama: HfModel, weights: Weights) -> None:
    from harness.testing.server import serve as serve_plain

    with serve_plain(llama) as plain:
        model = VllmModel(VllmSettings(path=llama.settings.path, device="cpu", endpoint=plain.url), weights)
        with pytest.raises(UsageError, match=r"is no vLLM server: .*harness serve vllm"):
            _ = model.identity
    gone = VllmModel(VllmSettings(path=llama.settings.path, device="cpu", endpoint=plain.url), weights)
    with pytest.raises(UsageError, match="is a server running there"):
        _ = gone.identity
    for address in ("127.0.0.1:8000", "http://me@there", "ftp://x", "http://[", "http://x/v1?key=1"):
        with pytest.raises(UsageError, match="endpoint is"):
            VllmSettings(endpoint=address)
    with serve(FakeVllm(local(llama.settings.path))) as fake, pytest.raises(UsageError, match="adapters is '/no/such'"):
        _ = vllm(fake, weights, adapters="/no/such").identity


def test_a_lost_connection_is_tried_again_and_what_stays_lost_is_an_error(
    fake: FakeVllm, llama: HfModel, weights: Weights
) -> None:
    model = vllm(fake, weights, concurrency=1)
    model.prove()
    wanted = asks(llama, ())
    fake.break_off = frozenset({fake.completions + 1})
    assert model.generate(wanted) == llama.generate(wanted), "a second attempt succeeds"
    fake.break_off = frozenset({fake.completions + 1, fake.completions + 2})
    rows = model.generate(wanted)
    assert [row[0].finish for row in rows][:2] == [llama.generate(wanted)[0][0].finish, "error"]
    assert (rows[1][0].cost, rows[1][0].text) == ({}, "")
    assert "no connection" in rows[1][0].reason
    fake.gone_after = fake.completions
    with pytest.raises(RunError, match=r"what is booked is safe.*harness resume"):
        model.generate(wanted)
    with pytest.raises(RunError, match="harness resume"):
        model.logprobs([(State(llama.base), "A", " tower")])


def test_full_weights_stay_with_hf(fake: FakeVllm, llama: HfModel, weights: Weights) -> None:
    model = vllm(fake, weights)
    full = weights.put(llama.merge(State(llama.base, (weights.put(random_adapter(llama, 1)),))))
    for refused in (lambda: model.merge(State(llama.base)), lambda: model.generate(asks(llama, (full,)))):
        with pytest.raises(UsageError, match="need --model hf"):
            refused()


def test_a_shorter_context_at_the_server_counts(fake: FakeVllm, llama: HfModel, weights: Weights) -> None:
    fake.positions = 60
    model = vllm(fake, weights)
    [[one]] = model.generate([Request(State(llama.base), "A" * 55, max_tokens=8)])
    assert (one.finish, one.reason[-8:]) == ("failed", "+ 8 > 60")


def test_a_server_that_does_not_say_its_slots_gets_one_adapter_at_a_time(
    fake: FakeVllm, llama: HfModel, weights: Weights
) -> None:
    fake.names_no_slots = True
    model = vllm(fake, weights)
    one = weights.put(random_adapter(llama, 1))
    wanted = asks(llama, (), (one,))
    model.prove()
    start = len(fake.calls)
    assert model.generate(wanted) == llama.generate(wanted)
    named = [body["model"] for path, body in fake.calls[start:] if path == "/v1/completions"]
    assert len({*named[:3]}) == len({*named[3:]}) == 1


def test_an_adapter_keeps_its_moments_to_itself(fake: FakeVllm, llama: HfModel, weights: Weights) -> None:
    model = vllm(fake, weights)
    settings = {"rank": 4, "keep_optimizer": True, "epochs": 1}
    [done] = model.train([TrainItem("j", State(llama.base), (Example("", "a text"),), 0, settings)])
    assert isinstance(done.adapter, Adapter)
    model.generate(asks(llama, (weights.put(done.adapter),)))
    assert all(adapter.optimizer is None for _, adapter in fake.loaded.values())


def test_settings_of_the_local_model_are_the_same() -> None:
    mine = {field.name for field in dataclasses.fields(VllmSettings)}
    assert mine > {field.name for field in dataclasses.fields(HfSettings)}
