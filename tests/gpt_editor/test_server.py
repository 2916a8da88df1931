"""The endpoint itself: what it refuses, and that a real model answers over HTTP as it does in this process."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from harness.api import Request, State
from harness.books.records import derive_seed
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.testing import ScriptedLM
from harness.testing.server import serve
from tests.models import tiny
from tests.models.conftest import Weights


def post(url: str, body: Any) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"})) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("/completions", {"prompt": ["a", "b"]}, "one text"),
        ("/completions", b"{", "Expecting"),
        ("/completions", {"prompt": "x", "response_format": {"type": "json_object"}}, "JSON schema"),
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, "chat template"),
        ("/chat/completions", {}, "messages"),
        ("/embeddings", {"input": "x"}, "nothing is served"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(path: str, body: Any, why: str) -> None:
    with serve(ScriptedLM({}, can=frozenset({"generate"}))) as server:
        status, answer = post(server.url + path, body)
    assert status == 400
    assert why in answer["error"]["message"]


def test_a_model_that_breaks_is_a_server_error() -> None:
    def broken(request: Request, index: int) -> str:
        raise RuntimeError("out of order")

    with serve(ScriptedLM(broken)) as server:
        status, answer = post(server.url + "/completions", {"prompt": "x"})
    assert (status, answer["error"]["message"]) == (500, "RuntimeError: out of order")


@pytest.mark.parametrize("kind", ["base", "instruct"])
def test_a_real_model_answers_over_http_as_it_does_here(tmp_path: Path, kind: str) -> None:
    chat = kind == "instruct"
    template = tiny.CHAT if chat else None
    folder = tiny.write(tmp_path / kind, "qwen2", end="<|im_end|>" if chat else "</s>", template=template)
    local = HfModel(HfSettings(path=str(folder), device="cpu"), Weights())
    prompt = (("user", "Who built the tower?"),) if chat else "Question: who built the tower? Answer:"
    with serve(local) as server:
        remote = OpenAIModel(
            OpenAISettings(
                path="m", base_url=server.url, key_env="", api="chat" if chat else "completions", schema="none"
            )
        )
        asked = Request(State(remote.base), prompt, n=3, temperature=1.0, top_p=0.9, max_tokens=12, seed=5)
        [over_http] = remote.generate([asked])
    here = Request(State(local.base), prompt, 3, 1.0, 0.9, 12, seed=derive_seed(5, 0))
    [in_process] = local.generate([here])
    assert [one.text for one in over_http] == [one.text for one in in_process]
    assert [one.finish for one in over_http] == [one.finish for one in in_process]
    used = [sum(one.cost[name] for one in over_http) for name in ("prompt_tokens", "completion_tokens")]
    assert used == [sum(one.cost[name] for one in in_process) for name in ("prompt_tokens", "completion_tokens")]


def test_a_prompt_that_is_too_long_is_declined_and_not_retried(tmp_path: Path) -> None:
    local = HfModel(HfSettings(path=str(tiny.write(tmp_path / "m", positions=32)), device="cpu"), Weights())
    with serve(local) as server:
        remote = OpenAIModel(
            OpenAISettings(path="m", base_url=server.url, key_env="", api="completions", schema="none")
        )
        [[one]] = remote.generate([Request(State(remote.base), "tower " * 60, max_tokens=8)])
        assert len(server.calls) == 1
    assert (one.finish, one.reason[:14]) == ("failed", "context length")
