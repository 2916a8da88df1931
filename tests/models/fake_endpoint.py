"""An endpoint that speaks the OpenAI protocol, in this process: tests decide what each call gets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """One HTTP answer; ``raw`` bytes go out as they are."""

    status: int = 200
    body: Mapping[str, Any] | None = None
    raw: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    trickle: float = 0.0
    """Seconds between one byte and the next."""


@dataclass
class Fake:
    """The endpoint's address, and the calls that it received."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)


def chat(*texts: str, finish: str = "stop", prompt_tokens: int = 10, completion_tokens: int = 4) -> Reply:
    """A chat answer with one choice per text."""
    choices = [
        {"index": i, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
        for i, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return Reply(body={"id": "x", "object": "chat.completion", "choices": choices, "usage": usage})


def failure(status: int, message: str = "no", code: str = "", **headers: str) -> Reply:
    """An error in the protocol's form."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "code": code or None}}, headers=named)


@contextmanager
def serve(answer: Callable[[int, dict[str, Any]], Reply]) -> Iterator[Fake]:
    """Run an endpoint; ``answer`` gets the number of the call (from 0) and its body."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                index = len(fake.bodies)
                fake.bodies.append({**body, "_path": self.path})
                fake.keys.append(self.headers.get("authorization", ""))
                fake.starts.append(time.monotonic())
            reply = answer(index, body)
            time.sleep(reply.delay)
            data = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
            try:
                self.send_response(reply.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if not reply.trickle:
                    self.wfile.write(data)
                for byte in data if reply.trickle else b"":
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(reply.trickle)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = Fake(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
