"""Calls to a remote endpoint: paced, retried with back-off, and with the key kept out of every message.

An attempt has a hard deadline, which also ends one that receives a byte now and then. There are three kinds of failure.
:class:`Unanswered`: the endpoint failed, after all retries. :class:`Declined`: the endpoint refuses this one text (too
long, filtered). A :class:`harness.api.HarnessError` (wrong key, no such model, no credit) would also meet every further
call, so it ends the run in a resumable state.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import json
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import openai
import tenacity

from harness.api import HarnessError
from harness.errors import RunError, UsageError

_MAX_WAIT = 600.0
_TOO_LONG = re.compile(r"maximum context length|context window|context_length|prompt is too long", re.IGNORECASE)
_FILTERED = re.compile(r"content[ _](filter|policy|management)", re.IGNORECASE)
_KEY_LIKE = re.compile(r"\b(sk|pk|key)-[A-Za-z0-9_*.-]{4,}|Bearer\s+\S+")


_T = TypeVar("_T")


class Unanswered(Exception):
    """The endpoint gave no usable answer, after all retries."""


class Declined(Exception):
    """The endpoint refuses to answer this text; the message says why, in a few words."""


class NoSuchModel(UsageError):
    """The endpoint answers, but knows no model of that name."""


class Transient(Exception):
    """One attempt failed, but the next may succeed.

    Args:
        retry_after: seconds that the server asks to wait; None where it does not.
        charged: whether the endpoint may charge for the failed attempt.
    """

    def __init__(self, why: str, retry_after: float | None = None, *, charged: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.charged = charged


class Pace:
    """Limits the rate at which calls start to ``per_minute`` (0: no limit), and delays them by a server's
    Retry-After."""

    def __init__(self, per_minute: int) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until this thread's turn."""
        with self._lock:
            turn = max(time.monotonic(), self._next)
            self._next = turn + self._gap
        time.sleep(max(0.0, turn - time.monotonic()))

    def hold(self, seconds: float) -> None:
        """Let no call start for that many seconds."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Endpoint:
    """An endpoint that speaks the OpenAI protocol.

    Args:
        base_url: the address, such as ``https://api.openai.com/v1``.
        key: the API key, which no message shows.
        retries: attempts after the first, each after an exponential back-off or the server's Retry-After.
        backoff: seconds before the first retry; doubled for each further one, with jitter.
        timeout: seconds for one attempt, from its start to the last byte of its answer.
        per_minute: the most calls that may start in a minute; 0 for no limit.
    """

    def __init__(
        self, base_url: str, key: str, *, retries: int, backoff: float, timeout: float, per_minute: int
    ) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=key, timeout=timeout, max_retries=0)
        self._url = base_url
        self._key = key
        self._retries = retries
        self._timeout = timeout
        self._pace = Pace(per_minute)
        self._jitter = tenacity.wait_exponential_jitter(initial=backoff, max=60.0, jitter=backoff)

    def insist(self, attempt: Callable[[], _T]) -> _T:
        """The result of ``attempt``, which is called again with a back-off while it raises :class:`Transient`.

        Raises:
            Unanswered: the last retry failed too.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=tenacity.stop_after_attempt(self._retries + 1),
            wait=self._wait,
            reraise=True,
        )
        try:
            return attempts(attempt)
        except Transient as error:
            raise Unanswered(f"{error} (after {self._retries + 1} attempts)") from None

    def wait(self) -> None:
        """Sleep until the next call may start."""
        self._pace.wait()

    def _wait(self, attempt: tenacity.RetryCallState) -> float:
        error = attempt.outcome.exception() if attempt.outcome else None
        asked = error.retry_after if isinstance(error, Transient) else None
        if asked is None:
            return self._jitter(attempt)
        self._pace.hold(asked)
        return asked

    def send(self, api: Literal["chat", "completions"], body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one call, and return its answer as a parsed JSON object, unchecked.

        Raises:
            Transient: another attempt may succeed.
            Unanswered: no attempt will succeed for this text.
            Declined: the endpoint refuses this text.
            HarnessError: further calls would fail in the same way.
        """
        model = str(body["model"])
        try:
            text = asyncio.run_coroutine_threadsafe(self._exchange(api, body), _loop()).result()
            answer = json.loads(text)
        except (TimeoutError, openai.APITimeoutError):
            raise Transient("timed out", charged=True) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            sent = type(cause).__name__ != "ConnectError"
            why = self._clean(f"no connection to {self._url}: {cause}")
            raise Transient(why, charged=sent) from None
        except openai.APIStatusError as error:
            raise self._of_status(error, model) from None
        except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deep
            raise Transient(f"the answer is not JSON: {str(error)[:100]}", charged=True) from None
        if not isinstance(answer, dict):
            raise Transient("the answer is not a JSON object", charged=True)
        return answer

    def call(self, what: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> Mapping[str, Any]:
        """Any other call of the client, such as those of files and batches; what comes back, as plain JSON.

        Raises:
            Transient: another attempt may succeed.
            HarnessError: further calls would fail in the same way.
        """
        found = self._attempt(what)
        plain: Mapping[str, Any] = found.model_dump(mode="json")
        return plain

    def text(self, what: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> str:
        """The text of a file. Raises as :meth:`call`."""
        return str(self._attempt(what).text)

    def refused(self, error: object) -> None:
        """Raise what an error in a batch's answer means: :class:`Declined` for this text, else
        :class:`Transient`."""
        text = self.said(error)
        code = str(error.get("code") or "") if isinstance(error, Mapping) else ""
        raise _declined(code, text) or Transient(f"{code}: {text}" if code else text)

    def _attempt(self, what: Callable[[openai.AsyncOpenAI], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with asyncio.timeout(self._timeout):
                return await what(self._client)

        try:
            return asyncio.run_coroutine_threadsafe(run(), _loop()).result()
        except (TimeoutError, openai.APITimeoutError):
            raise Transient("timed out") from None
        except openai.APIConnectionError as error:
            raise Transient(self._clean(f"no connection to {self._url}: {error.__cause__ or error}")) from None
        except openai.APIStatusError as error:
            if error.status_code in (404, 405, 501):
                what_failed = f"{self._url} has no batch mode (HTTP {error.status_code})"
                raise UsageError(f"{what_failed}; leave batch = true away") from None
            found = self._of_status(error, "")
            if isinstance(found, Unanswered | Declined):
                raise UsageError(f"{self._url} refuses the batch: {found}") from None
            raise found from None
        except (ValueError, RecursionError) as error:
            raise Transient(f"the answer is not JSON: {str(error)[:100]}") from None

    async def _exchange(self, api: str, body: Mapping[str, Any]) -> str:
        # Everything is sent as extra_body, so that fields unknown to this version of the client get through.
        model = str(body["model"])
        async with asyncio.timeout(self._timeout):
            if api == "chat":
                chat = self._client.chat.completions.with_raw_response
                return (await chat.create(model=model, messages=[], extra_body=body)).text
            texts = self._client.completions.with_raw_response
            return (await texts.create(model=model, prompt="", extra_body=body)).text

    def said(self, error: object) -> str:
        """The message in an answer's ``error`` field, on one line and without the key."""
        what = error.get("message") or error.get("code") if isinstance(error, Mapping) else error
        return self._clean(str(what or error))

    def _of_status(self, error: openai.APIStatusError, model: str) -> Exception:
        text = self._clean(str(error.message))
        code = str(error.code or "")
        status = error.status_code
        if status == 401 or status == 403:
            return UsageError(f"{self._url} refused the key (HTTP {status}); check the variable that key_env names")
        if status == 404:
            return NoSuchModel(f"{self._url} has no model {model!r} (HTTP 404): {text}")
        if code == "insufficient_quota":
            return _no_credit(self._url, text)
        if status in (408, 409, 425, 429) or status >= 500:
            return Transient(f"HTTP {status}: {text}", _retry_after(error.response.headers))
        return _declined(code, text) or Unanswered(f"HTTP {status}: {text}")

    def _clean(self, text: str) -> str:
        """The text on one line, shortened, and without the key, which some servers repeat in their errors."""
        return _KEY_LIKE.sub("***", " ".join(text.replace(self._key, "***").split()))[:300]


def _declined(code: str, text: str) -> Declined | None:
    """The refusal of one text that an error is; None for another error."""
    if _TOO_LONG.search(code + " " + text):
        return Declined("context length: " + text)
    return Declined("content filter") if _FILTERED.search(code + " " + text) else None


_starting = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop in which this process's calls run; asyncio is needed to end an attempt at its deadline."""
    with _starting:  # a cache alone lets two threads start one each, and a client's connections belong to one
        return _started_loop()


@functools.cache
def _started_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="endpoint", daemon=True).start()
    return loop


def _no_credit(url: str, text: str) -> HarnessError:
    return RunError(f"{url}: no credit left ({text}); top up, then `harness resume`")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: a number, or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (email.utils.parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), _MAX_WAIT)
