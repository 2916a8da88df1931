"""An OpenAI-compatible endpoint on this machine that serves a local model, and that can be told to misbehave.

``/v1/completions`` continues raw text; ``/v1/chat/completions`` answers chat turns if the model has a chat template.
The request's parameters (samples, temperature, seed, stop texts, length) reach the model; usage counts its tokens.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from harness.api import Completion, Prompt, Request, State


class Served(Protocol):
    """The part of a model that the endpoint needs."""

    base: str

    @property
    def can(self) -> frozenset[str]: ...

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]: ...


@dataclass(frozen=True)
class Fault:
    """One way for a call to go wrong.

    The call waits ``delay`` seconds. Then a ``status`` other than 200 is sent with ``headers``; ``truncate`` sends only
    the first half of a good answer's bytes; ``no_choices`` sends a good answer without its choices. If none of these is
    set, the call is answered normally.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    truncate: bool = False
    no_choices: bool = False


Faults = Callable[[int], Fault | None]
"""Number of the call (from 0) -> what goes wrong with it."""


@dataclass
class Server:
    """A running endpoint."""

    url: str
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    """The body of every call that arrived, in order, including those that met a fault."""


class _Refused(Exception):
    """The request is at fault (HTTP 400); ``code`` is the protocol's name for the error, if it has one."""

    def __init__(self, why: str, code: str | None = None) -> None:
        super().__init__(why)
        self.code = code


@contextmanager
def serve(model: Served, faults: Faults | None = None, *, port: int = 0) -> Iterator[Server]:
    """Serve a model on the loopback interface until the block is left.

    Args:
        faults: number of the call -> what goes wrong with it; nothing by default.
        port: 0 picks a free one.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"object": "list", "data": [{"id": model.base, "object": "model"}]})

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:
                number = len(running.calls)
                running.calls.append({"path": self.path, "body": raw.decode("utf-8", "replace")})
            fault = (faults(number) if faults else None) or Fault()
            time.sleep(fault.delay)
            if fault.status != 200:
                return self._send(fault.status, _error(f"HTTP {fault.status} by request"), fault.headers)
            try:
                body = json.loads(raw)
                running.calls[number] = {"path": self.path, **body}
                asked = _request(self.path, body, model)
                with lock:  # the model answers one call at a time
                    [completions] = model.generate([asked])
                answer = _answer(self.path, body, completions)
            except (_Refused, json.JSONDecodeError) as error:
                return self._send(400, _error(str(error), getattr(error, "code", None)))
            except Exception as error:
                return self._send(500, _error(f"{type(error).__name__}: {error}"))
            if fault.no_choices:
                answer["choices"] = []
            return self._send(200, answer, fault.headers, half=fault.truncate)

        def _send(
            self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None, *, half: bool = False
        ) -> None:
            data = json.dumps(body).encode()
            data = data[: len(data) // 2] if half else data
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has given up waiting

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing to the terminal."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Quiet(("127.0.0.1", port), Handler)
    running = Server(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _request(path: str, body: Mapping[str, Any], model: Served) -> Request:
    prompt = _prompt(path, body, model)
    if body.get("response_format") and "schema" not in model.can:
        raise _Refused("this model follows no JSON schema (response_format)")
    stop = body.get("stop") or ()
    return Request(
        State(model.base),
        prompt,
        n=int(body.get("n") or 1),
        temperature=float(body.get("temperature", 1.0)),
        top_p=float(body.get("top_p", 1.0)),
        max_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or 16),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=int(body.get("seed") or 0),
    )


def _prompt(path: str, body: Mapping[str, Any], model: Served) -> Prompt:
    if path.endswith("/chat/completions"):
        turns = tuple((str(turn["role"]), str(turn["content"])) for turn in body.get("messages", ()))
        if not turns:
            raise _Refused("messages are missing")
        if "chat" not in model.can:
            raise _Refused("this model has no chat template; use /v1/completions")
        return turns
    if path.endswith("/completions"):
        if not isinstance(body.get("prompt"), str):
            raise _Refused("prompt must be one text")
        return str(body["prompt"])
    raise _Refused(f"nothing is served at {path}")


def _answer(path: str, body: Mapping[str, Any], completions: Sequence[Completion]) -> dict[str, Any]:
    chat = path.endswith("/chat/completions")
    refused = next((one for one in completions if one.finish in ("failed", "error")), None)
    if refused:
        too_long = refused.reason.startswith("context length")
        raise _Refused(refused.reason, "context_length_exceeded" if too_long else None)
    choices = [
        {"index": index, "finish_reason": one.finish}
        | ({"message": {"role": "assistant", "content": one.text}} if chat else {"text": one.text})
        for index, one in enumerate(completions)
    ]
    written = {
        name: sum(int(one.cost.get(name, 0)) for one in completions) for name in ("prompt_tokens", "completion_tokens")
    }
    return {
        "id": "local",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": body.get("model", ""),
        "choices": choices,
        "usage": {**written, "total_tokens": sum(written.values())},
    }


def _error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}
