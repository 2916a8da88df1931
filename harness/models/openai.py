"""The model backend ``openai``: any endpoint that speaks the OpenAI protocol (OpenAI, vLLM, llama.cpp, ollama, ...).

Requests run side by side, up to ``concurrency`` at once. There is no cache here: the session's journal is one.
Needs the extra ``selfadapt-harness[openai]``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.api import JSON, Completion, Finish, HarnessError, Model, Request, WeightSource
from harness.books.records import derive_seed
from harness.errors import RunError, UsageError
from harness.models.prices import Price, price_of
from harness.models.stopping import cut

if TYPE_CHECKING:
    from harness.models.endpoint import Endpoint

_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True)
class OpenAISettings:
    """How an endpoint is reached and paid."""

    path: str = ""
    """The provider's name of the model, dated where it can be (``gpt-4.1-2025-04-14``)."""
    base_url: str = _OPENAI
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key. The key itself is never part of a configuration."""
    api: Literal["chat", "completions"] = "chat"
    """``chat`` sends a raw prompt as one user turn; ``completions`` continues raw text and refuses turns."""
    schema: Literal["json_schema", "json_object", "none"] = "json_schema"
    """What the endpoint understands of a request's JSON schema."""
    concurrency: int = 8
    requests_per_minute: int = 0
    """Calls that may start in a minute; 0 is no limit."""
    retries: int = 5
    backoff: float = 1.0
    """Seconds before the first retry; doubles each time. A server's Retry-After goes before it."""
    timeout: float = 120.0
    """Seconds for one attempt."""
    max_cost: float = 0.0
    """US dollars that this process may spend on this model; 0 is no limit."""
    prices: str = ""
    """A price table of the user's own, in the form of ``harness/models/prices.toml``."""
    input_price: float | None = None
    """US dollars per million prompt tokens, instead of the table's."""
    output_price: float | None = None
    """US dollars per million completion tokens, instead of the table's."""
    body: JSON = field(default_factory=dict)
    """Further fields of every call, such as ``{reasoning_effort = "low"}``."""
    omit: tuple[str, ...] = ()
    """Fields that this endpoint does not take, such as ``["temperature", "seed"]``."""


class OpenAIModel(Model):
    """A remote model. It generates; it cannot be trained, and its log-probabilities are not asked for."""

    Settings: ClassVar[type] = OpenAISettings

    def __init__(self, settings: OpenAISettings, weights: WeightSource | None = None) -> None:
        """Raises :class:`UsageError` for a missing name, key, extra, or price where ``max_cost`` needs one."""
        if not settings.path:
            raise UsageError("the model openai needs a name: --model openai:gpt-4.1-2025-04-14")
        for name in ("concurrency", "timeout"):
            if getattr(settings, name) <= 0:
                raise UsageError(f"model openai: {name} must be positive, not {getattr(settings, name)}")
        self.settings = settings
        self.base = f"openai:{settings.path}"
        self.can = self.abilities(settings)
        self.identity = {
            "name": settings.path,
            **{key: getattr(settings, key) for key in ("base_url", "api", "schema", "body", "omit")},
        }
        self.chunk = 8 * settings.concurrency
        self._endpoint = _connect(settings)
        self._price = self._find_price()
        self._spent = 0.0
        self._lock = threading.Lock()

    @staticmethod
    def abilities(settings: OpenAISettings) -> frozenset[str]:
        """What an endpoint of these settings can, without reaching it."""
        can = {"generate"} | ({"schema"} if settings.schema != "none" else set())
        return frozenset(can | ({"chat"} if settings.api == "chat" else set()))

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order.

        What could not be answered after all retries has the finish ``error``.

        Raises:
            HarnessError: nothing was answered, and no further call would be (wrong key, no credit, ``max_cost``).
        """
        for ask in asks:
            self._check(ask)
        stop: list[HarnessError] = []

        def one(ask: Request) -> list[Completion]:
            from harness.models.endpoint import Unanswered

            if stop:
                return _errors(ask, f"not sent: {stop[0]}")
            try:
                return self._answer(ask)
            except Unanswered as error:
                return _errors(ask, str(error))
            except HarnessError as error:
                stop.append(error)
                return _errors(ask, str(error))

        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            answers = list(pool.map(one, asks))
        # What was answered is paid for: it goes back to be booked, and the next call raises.
        if stop and all(completions[0].finish == "error" for completions in answers if completions):
            raise stop[0]
        return answers

    def _check(self, ask: Request) -> None:
        if ask.state.adapters:
            raise UsageError(f"{self.base} is remote: a state with adapters needs a local model (hf)")
        if ask.schema is not None and "schema" not in self.can:
            raise UsageError(f"{self.base} follows no JSON schema (settings.schema is 'none')")
        if self.settings.api == "completions" and not isinstance(ask.prompt, str):
            raise UsageError(f"{self.base} with api = 'completions' takes raw text, not turns; set api = 'chat'")

    def _answer(self, ask: Request) -> list[Completion]:
        """All samples of one request, in as many calls as it takes: some servers give one choice whatever ``n``."""
        from harness.models.endpoint import Declined

        found: list[Completion] = []
        while len(found) < ask.n:
            self._check_cost()
            body = self._body(ask, ask.n - len(found), len(found))
            try:
                answer = self._endpoint.ask(self.settings.api, body)
            except Declined as error:
                left = ask.n - len(found)
                return [*found, *(Completion(ask, "", finish="failed", reason=str(error)) for _ in range(left))]
            found.extend(self._completions(ask, answer, ask.n - len(found)))
        return found

    def _body(self, ask: Request, n: int, first: int) -> dict[str, Any]:
        own = self.settings
        official = own.base_url.rstrip("/") == _OPENAI
        body: dict[str, Any] = {
            "model": own.path,
            "n": n,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "seed": derive_seed(ask.seed, first),
            "max_completion_tokens" if official and own.api == "chat" else "max_tokens": ask.max_tokens,
        }
        if ask.stop:
            body["stop"] = list(ask.stop)
        if own.api == "completions":
            body["prompt"] = ask.prompt
        else:
            turns = (("user", ask.prompt),) if isinstance(ask.prompt, str) else ask.prompt
            body["messages"] = [{"role": role, "content": text} for role, text in turns]
        if ask.schema is not None:
            body["response_format"] = (
                {"type": "json_object"}
                if own.schema == "json_object"
                else {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": ask.schema, "strict": _is_strict(ask.schema)},
                }
            )
        body.update(own.body)
        return {key: value for key, value in body.items() if key not in own.omit}

    def _completions(self, ask: Request, answer: Mapping[str, Any], wanted: int) -> Iterator[Completion]:
        choices = answer["choices"]
        prompt_tokens, completion_tokens = _usage(answer)
        if self._price is not None:
            with self._lock:
                self._spent += self._price.usd(prompt_tokens, completion_tokens)
        kept = choices[:wanted]
        for index, choice in enumerate(kept):
            # The endpoint bills the call: the prompt goes on the first sample, the rest is shared out, sums are exact.
            share = completion_tokens // len(kept) + (1 if index < completion_tokens % len(kept) else 0)
            cost: dict[str, Any] = {"prompt_tokens": 0 if index else prompt_tokens, "completion_tokens": share}
            if self._price is not None:
                cost["usd"] = self._price.usd(cost["prompt_tokens"], share)
            text, finish, reason = _read(choice, ask.stop)
            yield Completion(ask, text, finish=finish, cost=cost, reason=reason)

    def _find_price(self) -> Price | None:
        own = self.settings
        listed = price_of(own.path, own.prices) if own.prices or own.base_url.rstrip("/") == _OPENAI else None
        paid_in = own.input_price if listed is None or own.input_price is not None else listed.input
        paid_out = own.output_price if listed is None or own.output_price is not None else listed.output
        if paid_in is not None and paid_out is not None:
            return Price(paid_in, paid_out)
        if own.max_cost:
            raise UsageError(
                f"{self.base}: max_cost needs a price, and the table has none; set input_price and output_price "
                "(US dollars per million tokens)"
            )
        return None

    def _check_cost(self) -> None:
        limit = self.settings.max_cost
        if limit and self._spent >= limit:
            raise RunError(
                f"{self.base}: max_cost of ${limit:.2f} reached (${self._spent:.2f} spent); raise it and resume"
            )


def _connect(settings: OpenAISettings) -> Endpoint:
    try:
        from harness.models.endpoint import Endpoint
    except ImportError as error:
        raise UsageError(
            f"the model openai needs the package {error.name}: pip install 'selfadapt-harness[openai]'"
        ) from error
    key = os.environ.get(settings.key_env, "") if settings.key_env else ""
    if not key:
        if settings.base_url.rstrip("/") == _OPENAI:
            raise UsageError(f"the model openai needs a key: the environment variable {settings.key_env!r} is not set")
        key = "unused"
    return Endpoint(
        settings.base_url,
        key,
        retries=settings.retries,
        backoff=settings.backoff,
        timeout=settings.timeout,
        per_minute=settings.requests_per_minute,
    )


def _errors(ask: Request, why: str) -> list[Completion]:
    return [Completion(ask, "", finish="error", reason=why) for _ in range(ask.n)]


def _read(choice: Mapping[str, Any], stop: Sequence[str]) -> tuple[str, Finish, str]:
    """Text, finish and reason of a choice, cut at the first stop text, which some servers leave in."""
    message = choice.get("message")
    if isinstance(message, Mapping):
        if message.get("refusal"):
            return "", "failed", "refused"
        text = str(message.get("content") or "")
    else:
        text = str(choice.get("text") or "")
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        return "", "failed", "content filter"
    text, stopped = cut(text, stop)
    return text, "length" if reason == "length" and not stopped else "stop", ""


def _usage(answer: Mapping[str, Any]) -> tuple[int, int]:
    usage = answer.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    return prompt if isinstance(prompt, int) else 0, completion if isinstance(completion, int) else 0


def _is_strict(schema: JSON) -> bool:
    """Whether a schema meets what OpenAI demands of strict ones: every object closed, every property required."""
    if schema.get("type") == "object":
        properties = schema.get("properties")
        if not properties or schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required", ())) != set(properties):
            return False
        return all(_is_strict(inner) for inner in properties.values() if isinstance(inner, Mapping))
    items = schema.get("items")
    return _is_strict(items) if isinstance(items, Mapping) else True
