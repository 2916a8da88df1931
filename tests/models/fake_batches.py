"""An endpoint with OpenAI's batch mode, in this process: tests decide when batches end, how, and what fails."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERRORS = "errors"


@dataclass
class FakeBatches:
    """What the endpoint has received; ``end`` and the faults are set by tests.

    ``end``: status that a batch takes when it is looked at next ("" leaves it at work).
    ``answer``: a request's body -> the answer's body, or an error line, or None where it stays unanswered.
    ``refuse``: called with every submission; a status other than 0 is returned after (``late``) or before taking it.
    """

    url: str = ""
    end: str = ""
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = lambda body: answered("answer")
    refuse: Callable[[int], int] = lambda count: 0
    late: bool = False
    files: dict[str, str] = field(default_factory=dict)
    batches: list[dict[str, Any]] = field(default_factory=list)
    submissions: int = 0
    listed: int = 0

    def sent(self) -> list[str]:
        """The custom ids of all requests that were submitted, once per submission."""
        return [json.loads(line)["custom_id"] for one in self.batches for line in self.files[
            one["input_file_id"]].splitlines()]  # fmt: skip

    def finish(self, batch: dict[str, Any]) -> None:
        out, errors = [], []
        for line in reversed(self.files[batch["input_file_id"]].splitlines()):  # the order of answers is arbitrary
            item = json.loads(line)
            body = self.answer(item["body"])
            if body is not None and "error" not in body:
                out.append({"custom_id": item["custom_id"], "response": {"status_code": 200, "body": body},
                            "error": None})  # fmt: skip
            elif body is not None:
                errors.append({"custom_id": item["custom_id"], "response": {"status_code": 400, "body": body},
                               "error": None})  # fmt: skip
            elif self.end == "expired":
                errors.append({"custom_id": item["custom_id"], "response": None,
                               "error": {"code": "batch_expired", "message": "not done in time"}})  # fmt: skip
        batch["status"] = self.end
        if self.end == "failed":
            batch["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "too many tokens"}]}
            return
        for name, lines in (("output_file_id", out), ("error_file_id", errors)):
            if lines:
                batch[name] = f"file-{name}-{batch['id']}"
                self.files[batch[name]] = "".join(json.dumps(one) + "\n" for one in lines)


def answered(*texts: str, prompt_tokens: int = 1000, completion_tokens: int = 0) -> dict[str, Any]:
    choices = [{"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
               for i, text in enumerate(texts)]  # fmt: skip
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return {"id": "x", "object": "chat.completion", "model": "m-1", "choices": choices, "usage": usage}


@contextmanager
def serve() -> Iterator[FakeBatches]:
    lock = threading.Lock()
    fake = FakeBatches()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            with lock:
                if self.path.endswith("/files"):
                    boundary = self.headers["content-type"].partition("boundary=")[2].encode()
                    part = next(p for p in data.split(b"--" + boundary) if b'name="file"' in p)
                    name = f"file-{len(fake.files)}"
                    fake.files[name] = part.partition(b"\r\n\r\n")[2].rstrip(b"\r\n").decode() + "\n"
                    self.say(200, {"id": name, "object": "file", "purpose": "batch"})
                    return
                fake.submissions += 1
                status = fake.refuse(fake.submissions)
                if status and not fake.late:
                    self.say(status, {"error": {"message": "no"}})
                    return
                asked = json.loads(data)
                fake.batches.append({"id": f"batch_{len(fake.batches)}", "object": "batch", "status": "validating",
                                     "created_at": 1, **asked})  # fmt: skip
                self.say(status or 200, {"error": {"message": "no"}} if status else fake.batches[-1])

        def do_GET(self) -> None:
            with lock:
                if content := re.search(r"/files/([^/]+)/content", self.path):
                    self.say(200, fake.files[content[1]])
                elif one := re.search(r"/batches/(batch_\d+)", self.path):
                    batch = next(b for b in fake.batches if b["id"] == one[1])
                    if batch["status"] in ("validating", "in_progress") and fake.end:
                        fake.finish(batch)
                    self.say(200, batch)
                else:
                    fake.listed += 1
                    after = re.search(r"after=(\w+)", self.path)
                    newest = list(reversed(fake.batches))
                    start = 1 + [b["id"] for b in newest].index(after[1]) if after else 0
                    page = newest[start : start + 2]  # small pages, so that there are several
                    self.say(200, {"object": "list", "data": page, "has_more": start + 2 < len(newest)})

        def say(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
