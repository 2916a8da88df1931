"""A stand-in for a vLLM server with adapters: the same endpoints over the engine, and the faults of real ones.

As a program it takes the command line of ``vllm serve``, as far as ``harness serve vllm`` uses it.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from harness.engine import Adapter, Engine, GenerationRow, ScoreRow
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.models.stopping import StopTexts


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


_known: dict[tuple[Any, ...], Any] = {}
"""Model, adapter and request -> answer: every test's canaries are the same."""


@dataclass
class FakeVllm:
    """A server, what it was asked, and what is wrong with it."""

    model: HfModel
    url: str = ""
    version: str = "0.32.0"
    max_rank: int = 64
    max_loras: int = 4
    positions: int = 0
    """0: the model's."""
    takes_adapters: bool = True
    """Whether the routes for adapters exist."""
    sees_files: bool = True
    refuses: str = ""
    """What it says to every adapter."""
    mixes_up: bool = False
    """Whether the stand-in for the base is answered as the last adapter, as vLLM does with a request without one."""
    processed: bool = False
    """Whether log-probabilities are those at the sampling temperature."""
    names_no_slots: bool = False
    restart_after: list[int] = field(default_factory=list)
    """Numbers of the completions before which it is started again, and knows no adapter."""
    break_off: frozenset[int] = frozenset()
    """Numbers of the completions whose connection is lost in the middle of the answer."""
    gone_after: int = 10**9
    """Number of completions after which every connection is closed without an answer."""

    loaded: dict[str, tuple[str, Adapter]] = field(default_factory=dict)
    """Name -> folder and weights."""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and body of every POST, in the order of arrival."""
    completions: int = 0
    most_loaded: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def engine(self) -> Engine:
        return self.model.engine

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/health":
            return 200, {}
        if path == "/version":
            return 200, {"version": self.version}
        if path == "/v1/models":
            mine = {"id": "base", "parent": None, "max_model_len": self.positions or self.model.positions}
            others = [{"id": name, "parent": "base", "max_model_len": None} for name in self.loaded]
            return 200, {"object": "list", "data": [mine, *others]}
        if path == "/metrics" and not self.names_no_slots:
            said = f'vllm:lora_requests_info{{max_lora="{self.max_loras}",running_lora_adapters=""}} 1.0\n'
            return 200, said if self.completions else "# nothing yet\n"
        return 404, {"detail": "Not Found"}

    def post(self, path: str, body: dict[str, Any]) -> Any:
        if path == "/v1/completions":
            return self._complete(body)
        if not self.takes_adapters or path not in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            raise _Refused(404, "")
        name = body["lora_name"]
        if path == "/v1/unload_lora_adapter":
            if self.loaded.pop(name, None) is None:
                raise _Refused(404, f"The lora adapter '{name}' cannot be found.")
            return f"Success: LoRA adapter '{name}' removed successfully."
        if name in self.loaded:
            raise _Refused(400, f"The lora adapter '{name}' has already been loaded.")
        if not self.sees_files or not Path(body["lora_path"]).is_dir():
            raise _Refused(404, f"Loading lora {name} failed: No adapter found for <path>")
        if self.refuses:
            raise _Refused(400, self.refuses)
        adapter = Adapter.load(body["lora_path"])
        if adapter.rank > self.max_rank:
            why = f"LoRA rank {adapter.rank} is greater than max_lora_rank {self.max_rank}."
            raise _Refused(500, f"Call to add_lora method failed: Worker failed with error '{why}'")
        self.loaded[name] = (body["lora_path"], adapter)
        self.most_loaded = max(self.most_loaded, len(self.loaded))
        return f"Success: LoRA adapter '{name}' added successfully."

    def _complete(self, body: dict[str, Any]) -> Any:
        number, self.completions = self.completions, self.completions + 1
        if number in self.restart_after:
            self.loaded.clear()
        if body["model"] not in self.loaded and body["model"] != "base":
            raise _Refused(404, f"The model `{body['model']}` does not exist.")
        adapter = self.loaded[body["model"]][1]
        if self.mixes_up and all(not b.any() for _, b in adapter.weights.values()):
            adapter = list(self.loaded.values())[-1][1]
        wish = json.dumps({name: value for name, value in body.items() if name != "model"})
        key = (self.model, adapter.digest(), wish, self.processed)
        if key not in _known:
            _known[key] = self._computed(body, adapter)
        return _known[key]

    def _computed(self, body: Mapping[str, Any], adapter: Adapter) -> Any:
        ids = tuple(body["prompt"])
        if len(ids) + body["max_tokens"] > (self.positions or self.model.positions):
            raise _Refused(400, "This model's maximum context length is too small for this.")
        stop = StopTexts(self.model.prompts, body.get("stop", ()))
        with_logprobs = "logprobs" in body
        row = GenerationRow(
            ids, (adapter,), body["max_tokens"], body["temperature"], body.get("top_p", 1.0), body.get("seed", 0),
            stop, with_logprobs,
        )  # fmt: skip
        [made] = self.engine.generate([row])
        written = (*made.ids, *([made.eos] if made.eos is not None else []))
        choice: dict[str, Any] = {
            "index": 0,
            "text": self.model.prompts.decode(made.ids),
            "token_ids": list(written),
            "finish_reason": made.finish,
            "logprobs": None,
        }
        if with_logprobs:
            [(scores, _)] = self.engine.likelihoods([ScoreRow(ids, written, (adapter,))])
            choice["logprobs"] = {"token_logprobs": [2 * x for x in scores] if self.processed else scores}
        if "prompt_logprobs" in body:
            rows = [ScoreRow(ids[:place], ids[place : place + 1], (adapter,)) for place in range(1, len(ids))]
            scored = zip(ids[1:], self.engine.likelihoods(rows), strict=True)
            said = [{str(one): {"logprob": scores[0], "rank": 1 if best else 2}} for one, (scores, best) in scored]
            choice["prompt_logprobs"] = [None, *said]
        return {"choices": [choice], "usage": {"prompt_tokens": len(ids), "completion_tokens": len(written)}}


@contextmanager
def serve(fake: FakeVllm, port: int = 0) -> Iterator[FakeVllm]:
    """Serve on the loopback interface until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*fake.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
            with fake.lock:  # the engine answers one call at a time
                number = fake.completions
                fake.calls.append((self.path, body))
                if self.path == "/v1/completions" and number >= fake.gone_after:
                    fake.completions += 1
                    self.close_connection = True
                    return None
                try:
                    status, answer = 200, fake.post(self.path, body)
                except _Refused as error:
                    why = {"error": {"message": str(error), "code": error.status}} if str(error) else {"detail": "no"}
                    status, answer = error.status, why
            half = self.path == "/v1/completions" and number in fake.break_off
            return self._send(status, answer, half=half)

        def _send(self, status: int, answer: Any, *, half: bool = False) -> None:
            data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if half else data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Quiet(("127.0.0.1", port), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _NoWeights:
    def adapter(self, digest: str) -> Any:
        raise KeyError(digest)


@functools.cache
def local(folder: str) -> HfModel:
    """The model that a server computes with."""
    return HfModel(HfSettings(path=folder, device="cpu"), _NoWeights())  # type: ignore[arg-type]


def main() -> None:
    """``serve FOLDER --port N ...``; FAKE_VLLM may hold faults as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("folder")
    for name in ("port", "max-loras", "max-lora-rank"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("host", "dtype", "served-model-name", "max-cpu-loras", "generation-config", "logprobs-mode"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--enable-lora", action="store_true", required=True)
    parser.add_argument("--lora-target-modules", nargs="+", required=True)
    parser.add_argument("--wish")
    asked = parser.parse_args()
    faults: Mapping[str, Any] = json.loads(os.environ.get("FAKE_VLLM", "{}"))
    if "dies" in faults:
        raise SystemExit(faults["dies"])
    assert "lm_head" not in asked.lora_target_modules
    fake = FakeVllm(
        local(asked.folder),
        max_rank=asked.max_lora_rank,
        max_loras=asked.max_loras,
        takes_adapters=os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "1",
    )
    _ = fake.engine
    with serve(dataclasses.replace(fake, **faults), asked.port):
        print(f"wished: {asked.wish}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
