"""A real vLLM server, in an environment of its own, answers as the engine does."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("openai")
pytest.importorskip("tenacity")

from harness.api import Example, Request, State, TrainItem
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.models.vllm.model import VllmModel
from harness.models.vllm.settings import VllmSettings
from harness.models.vllm.start import PYTHON, started
from tests.models.conftest import Weights
from tests.models.test_serve import free_port


def missing() -> str:
    """Why there is no server to test; "" where there is."""
    if not (python := os.environ.get(PYTHON)):
        return f"set {PYTHON} to the interpreter of an environment with vLLM"
    look = "import importlib.util as u; raise SystemExit(u.find_spec('vllm') is None)"
    return f"{python} has no vLLM" if subprocess.run([python, "-c", look], check=False).returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_48_base_and_48_adapter_requests_mixed(
    tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why := missing():
        pytest.skip(why)
    spec = importlib.util.find_spec("harness_lab")
    if spec is None or spec.origin is None:
        pytest.skip("the lab model is not in this installation")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    path = str(Path(spec.origin).parent / "model")
    here = HfModel(HfSettings(path=path, device="cpu"), weights)  # type: ignore[arg-type]
    port = free_port()
    settings = VllmSettings(path=path, device="cpu", endpoint=f"http://127.0.0.1:{port}", concurrency=96)
    there = VllmModel(settings, weights)  # type: ignore[arg-type]
    start = there.start(python=os.environ[PYTHON], port=port, further=["--enforce-eager"], wait=1500.0)
    with started(start, tmp_path / "vllm.log", print):
        proof = there.prove(48)
        assert (proof.base, proof.adapters) == ((48, 48), (48, 48))
        names = ["Ada Marsh", "the miller", "a sailor"]
        item = {"rank": 8, "alpha": 16.0, "targets": "all-linear", "learning_rate": 1e-2, "epochs": 10}
        start_state = State(there.base)
        items = [TrainItem(name, start_state, (Example("Who came? ", name),), 0, item) for name in names]
        states = [State(there.base, (weights.put(done.adapter),)) for done in there.train(items)]
        stacked = State(there.base, (states[0].adapters[0], states[1].adapters[0]))
        asked = [start_state, *states, stacked]
        prompts = [f"Who came? {number}" for number in range(16)]
        wanted = [Request(state, prompt, max_tokens=12) for prompt in prompts for state in asked]
        assert there.generate(wanted) == here.generate(wanted)
        scored = [(state, prompt, " Ada Marsh came.") for prompt in prompts[:4] for state in asked]
        for mine, theirs in zip(there.likelihoods(scored), here.likelihoods(scored), strict=True):
            assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-3)
            assert mine.greedy == theirs.greedy
        drawn = [Request(state, prompts[0], n=2, temperature=0.7, seed=1, max_tokens=8) for state in asked]
        again = there.generate(drawn)
        assert [[c.text for c in row] for row in there.generate(drawn)] == [[c.text for c in row] for row in again]
