"""A running vLLM server: what it holds, the adapters it is told to load, and calls of its completions."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import RunError, UsageError
from harness.models.endpoint import Endpoint, Transient, Unanswered
from harness.models.vllm.settings import VllmSettings

_MAX_RANK = re.compile(r"max_lora_rank (\d+)")
_MAX_LORAS = re.compile(r'^vllm:lora_requests_info\{.*?max_lora="(\d+)"', re.MULTILINE)
START = "`harness serve vllm --model MODEL` starts one that is right"
"""The end of a message about a server that cannot be used."""


class RankTooLarge(UsageError):
    """An adapter's rank exceeds what the server was started for.

    Args:
        most: the server's maximum.
    """

    def __init__(self, rank: int, most: int) -> None:
        super().__init__(
            f"an adapter of rank {rank} exceeds the vLLM server's maximum, {most}; start it with "
            f"`harness serve vllm --max-lora-rank {legal_rank(rank)}`, or train with a lower rank"
        )
        self.most = most


RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for ``--max-lora-rank``."""


def legal_rank(rank: int) -> int:
    """The smallest ``--max-lora-rank`` that admits adapters of a rank; the largest there is where none does."""
    return next((one for one in RANKS if one >= rank), RANKS[-1])


class VllmServer:
    """The server at the endpoint of ``settings``. Nothing is sent before the first call.

    Every call raises :class:`RunError` where the server cannot be reached, after all retries.
    """

    def __init__(self, settings: VllmSettings) -> None:
        self.url = settings.root
        self._timeout = settings.timeout
        self._endpoint = Endpoint(
            f"{self.url}/v1",
            "unused",
            retries=settings.retries,
            backoff=1.0,
            timeout=settings.timeout,
            per_minute=0,
        )

    def facts(self) -> tuple[str, int]:
        """The server's version, and the most tokens that a text may have there.

        Raises:
            UsageError: nothing answers there (which is not tried again), or no vLLM server does.
        """
        try:
            status, text = self._attempt("/version")
        except Transient as error:
            raise UsageError(f"{error}; is a server running there? {START}") from None
        version = _json(text).get("version") if status == 200 else None
        if not isinstance(version, str):
            raise UsageError(f"{self.url} is no vLLM server: it does not say its version (HTTP {status}); {START}")
        status, text = self._call("/v1/models")
        listed = _json(text).get("data") if status == 200 else None
        lengths = [
            one["max_model_len"]
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, Mapping) and not one.get("parent") and isinstance(one.get("max_model_len"), int)
        ]
        if not lengths:
            raise UsageError(f"{self.url} does not say which model it serves (HTTP {status}: {_said(text)}); {START}")
        return version, min(lengths)

    def load(self, name: str, folder: Path, rank: int) -> None:
        """Have the server load an adapter; nothing happens where it holds one of that name.

        Raises:
            RankTooLarge: its rank exceeds the server's maximum.
            UsageError: the server takes no adapters, cannot see the folder, or refuses what is in it.
        """
        status, text = self._call("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
        said = _said(text)
        if status == 200 or (status == 400 and "already been loaded" in said):
            return
        if most := _MAX_RANK.search(said):
            raise RankTooLarge(rank, int(most[1]))
        if status == 404 and "No adapter found" in said:
            raise UsageError(
                f"{self.url} does not see {folder.parent}, where this process leaves adapters for it; set "
                "model.adapters to a folder that both see under the same path"
            )
        if status in (404, 405, 501):
            raise UsageError(
                f"{self.url} takes no adapters at run time (HTTP {status} at /v1/load_lora_adapter), so it could only "
                f"answer as the base model; {START}"
            )
        raise UsageError(f"{self.url} refuses an adapter (HTTP {status}: {said}); {START}")

    def unload(self, name: str) -> None:
        """Have the server forget an adapter. Whether it does is not asked: it holds no more than it has room for."""
        with contextlib.suppress(Transient):
            self._attempt("/v1/unload_lora_adapter", {"lora_name": name})

    def slots(self) -> int:
        """How many adapters the server computes side by side (``--max-loras``); 1 where it does not say.

        It says so only once it has answered under an adapter.
        """
        status, text = self._call("/metrics")
        found = _MAX_LORAS.search(text) if status == 200 else None
        return int(found[1]) if found else 1

    def complete(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The only choice in the answer to a call of ``/v1/completions``.

        Raises:
            Declined, Unanswered: there is no answer to this text.
            NoSuchModel: the server holds no adapter of that name.
        """

        def attempt() -> Mapping[str, Any]:
            answer = self._endpoint.send("completions", body)
            choices = answer.get("choices")
            if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
                raise Transient(f"the answer does not hold one choice: {str(answer.get('error') or choices)[:200]}")
            if choices[0].get("finish_reason") not in ("stop", "length"):
                raise Transient(f"the server broke off: finish_reason {choices[0].get('finish_reason')!r:.40}")
            return choices[0]

        return self._endpoint.insist(attempt)

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """HTTP status and text of a call that is none of the OpenAI protocol's."""
        try:
            return self._endpoint.insist(lambda: self._attempt(path, body))
        except Unanswered as error:
            raise unreachable(error) from None

    def _attempt(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:
                return answer.status, answer.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException, ValueError) as error:  # no connection, or one that was lost
            raise Transient(f"no connection to {self.url}: {getattr(error, 'reason', None) or error}") from None


def unreachable(why: object) -> RunError:
    """The error of a server that does not answer."""
    return RunError(f"{why}; what is booked is safe: once the server answers again, `harness resume` goes on")


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _said(text: str) -> str:
    """The message in an error's text, on one line."""
    found = _json(text).get("error")
    message = found.get("message") if isinstance(found, Mapping) else found
    return " ".join(str(message or text).split())[:300]
