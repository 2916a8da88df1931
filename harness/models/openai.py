"""The model backend ``openai``: any endpoint that speaks the OpenAI protocol (OpenAI, vLLM, llama.cpp, ollama, ...).

Requests run side by side, up to ``concurrency`` at once. Answers are not cached here but in the session's journal;
costs, and answers that are not booked yet, are in the run's ledger. Needs the extra ``selfadapt-harness[openai]``.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.api import JSON, Completion, Finish, HarnessError, Ledger, Model, Quote, Request, WeightSource
from harness.books import ledger
from harness.books.records import derive_seed, digest
from harness.errors import UsageError
from harness.models.prices import MOST, Price, price_of
from harness.models.stopping import cut

if TYPE_CHECKING:
    from harness.models.endpoint import Endpoint

_OPENAI = "https://api.openai.com/v1"
_BATCH_SHARE = 0.5
"""Price in batch mode, as a share of the price of a call."""


@dataclass(frozen=True)
class OpenAISettings:
    """How an endpoint is reached, and what it costs."""

    path: str = ""
    """The provider's name of the model, with a date where there is one (``gpt-4.1-2025-04-14``)."""
    base_url: str = _OPENAI
    """Address of an OpenAI-compatible endpoint."""
    key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key. The key itself is never part of a configuration."""
    api: Literal["chat", "completions"] = "chat"
    """``chat`` sends a raw prompt as one user turn; ``completions`` continues raw text and refuses turns."""
    schema: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How a request's JSON schema is sent: the field that the endpoint understands."""
    batch: bool = False
    """Whether requests go to OpenAI's batch endpoint: half the price, answers within a day. A run that has to wait for
    them is parked (exit code 6), and ``harness resume`` goes on."""
    batch_wait: float = 0.0
    """Seconds to wait for a batch before the run is parked."""
    concurrency: int = 8
    """The most calls in flight at once."""
    requests_per_minute: int = 0
    """The most calls that may start in a minute; 0 for no limit."""
    retries: int = 5
    """Attempts after the first."""
    backoff: float = 1.0
    """Seconds before the first retry; doubled for each further one. A server's Retry-After takes precedence."""
    timeout: float = 120.0
    """Seconds for one attempt, from its start to the last byte of its answer."""
    max_cost: float = 0.0
    """The most US dollars that this model may cost in a run, however often it is resumed; 0 for no limit."""
    prices: str = ""
    """Path of a price table of the user's own, in the format of ``harness/models/prices.toml``."""
    input_price: float | None = None
    """US dollars per million prompt tokens, instead of the table's."""
    output_price: float | None = None
    """US dollars per million completion tokens, instead of the table's."""
    body: JSON = field(default_factory=dict)
    """Further fields to send with every call, such as ``{reasoning_effort = "low"}``."""
    omit: tuple[str, ...] = ()
    """Fields not to send, as the endpoint does not take them, such as ``["temperature", "seed"]``."""

    def __post_init__(self) -> None:
        """Raises :class:`UsageError` for a price out of range, and for a key in a setting, where it would be stored."""
        _refuse_keys(self)
        for name in ("input_price", "output_price"):
            price = getattr(self, name)
            if price is not None and not 0.0 <= price <= MOST:
                raise UsageError(
                    f"model openai: {name} is {price}; it must be in US dollars per million tokens, 0 to {MOST:,.0f}"
                )
        if not 0.0 <= self.max_cost < math.inf:
            raise UsageError(f"model openai: max_cost is {self.max_cost}; it must be in US dollars, 0 for no limit")


class OpenAIModel(Model):
    """A remote model. It generates text; it cannot be trained, and gives no log-probabilities."""

    Settings: ClassVar[type] = OpenAISettings

    def __init__(self, settings: OpenAISettings, weights: WeightSource | None = None) -> None:
        """Raises :class:`UsageError` for a missing name, key or extra, and for a missing price if ``max_cost`` is
        set."""
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
        self.chunk = 50_000 if settings.batch else 8 * settings.concurrency
        self._endpoint = _connect(settings)
        self._price = _find_price(settings, self.base)

    @classmethod
    def quote(cls, settings: OpenAISettings, /) -> Quote:
        """The model's abilities and prices. Raises :class:`UsageError` for a missing name, key or price."""
        if not settings.path:
            raise UsageError("the model openai needs a name: --model openai:gpt-4.1-2025-04-14")
        base = f"openai:{settings.path}"
        price = _find_price(settings, base)
        _key(settings)
        known = (price.input, price.output) if price else (None, None)
        return Quote(base, cls.abilities(settings), *known)

    @staticmethod
    def abilities(settings: OpenAISettings) -> frozenset[str]:
        """The abilities of an endpoint with these settings, without calling it; see :attr:`harness.api.Model.can`."""
        can = {"generate"} | ({"schema"} if settings.schema != "none" else set())
        return frozenset(can | ({"chat"} if settings.api == "chat" else set()))

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """``asks[i].n`` completions for every request, in order.

        A request that got no answer after all retries has completions with finish ``error``.

        Raises:
            HarnessError: nothing was answered, and further calls would fail too (wrong key, no credit, ``max_cost``).
        """
        for ask in asks:
            self._check(ask)
        if self.settings.batch:
            return self._in_batches(asks)
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
        # Answers are paid for, so any that came are returned to be booked; the next call raises.
        if stop and all(completions[0].finish == "error" for completions in answers if completions):
            raise stop[0]
        return answers

    def _in_batches(self, asks: Sequence[Request]) -> list[list[Completion]]:
        """The completions by OpenAI's batch endpoint. Raises :class:`harness.errors.Parked` while it is at work."""
        from harness.models.batch import Batches, Item
        from harness.models.endpoint import Transient

        def read(item: Item, answer: Mapping[str, Any]) -> tuple[list[Completion], float, str]:
            found, faults = read_answer(answer, self.settings.api, item.ask.stop)
            if not found:
                raise Transient(self._endpoint.said(faults[0]))
            usage = _usage(answer)
            completions = self._completions(item.ask, found[: item.ask.n - item.first], *(usage or (0, 0)))
            return completions, price(answer) if usage or not self._price else item.most, _answered(answer)

        def price(answer: Mapping[str, Any]) -> float:
            return self._price.usd(*(_usage(answer) or (0, 0))) if self._price else 0.0

        path = "/v1/chat/completions" if self.settings.api == "chat" else "/v1/completions"
        batches = Batches(
            self._endpoint,
            self._accounts,
            self.base,
            path,
            self.settings.max_cost,
            self.settings.batch_wait,
            read,
            price,
        )
        out: list[list[Completion]] = []
        items: list[tuple[int, Item]] = []
        for place, ask in enumerate(asks):
            request = digest([self.base, self.identity, ask])
            out.append([Completion(ask, **fields) for fields in self._accounts.answers(request)][: ask.n])
            if (first := len(out[-1])) < ask.n:
                body = self._body(ask, ask.n - first, first)
                items.append((place, Item(ask, request, first, body, self._most(body))))
        found = batches.answers([item for _, item in items]) if items else {}
        for place, item in items:
            said = [dataclasses.replace(one, request=item.ask) for one in found[item.id]]
            left = item.ask.n - item.first - len(said)
            out[place] += [*said, *(_errors(item.ask, "the batch gave fewer samples than were asked for")[:left])]
        return out

    def _check(self, ask: Request) -> None:
        if ask.state.adapters:
            raise UsageError(f"{self.base} is remote: a state with adapters needs a local model (hf)")
        if ask.schema is not None and "schema" not in self.can:
            raise UsageError(f"{self.base} cannot follow a JSON schema (its setting schema is 'none')")
        if self.settings.api == "completions" and not isinstance(ask.prompt, str):
            raise UsageError(
                f"{self.base} with api = 'completions' takes raw text, not a conversation; set api = 'chat'"
            )

    def _answer(self, ask: Request) -> list[Completion]:
        """All samples of one request, in as many calls as it takes: some servers return one choice, whatever ``n`` is.

        Samples that were paid for but not booked, because of a kill or the failure of a later call, come from the
        ledger.
        """
        from harness.models.endpoint import Declined

        request = digest([self.base, self.identity, ask])
        found = [Completion(ask, **fields) for fields in self._accounts.answers(request)][: ask.n]
        while len(found) < ask.n:
            left = ask.n - len(found)
            body = self._body(ask, left, len(found))
            call = functools.partial(self._attempt, ask, request, body, left)
            try:
                found += self._endpoint.insist(call)
            except Declined as error:
                return [*found, *(Completion(ask, "", finish="failed", reason=str(error)) for _ in range(left))]
        return found

    def _attempt(self, ask: Request, request: str, body: Mapping[str, Any], wanted: int) -> list[Completion]:
        """One call, entered in the ledger before it is sent, and settled with its answer when it ends."""
        from harness.models.endpoint import Declined, Transient, Unanswered

        self._endpoint.wait()
        accounts = self._accounts
        entry = accounts.reserve(self.base, request, self._most(body), self.settings.max_cost)
        settle = functools.partial(accounts.settle, self.base, request, entry)
        try:
            answer = self._endpoint.send(self.settings.api, body)
        except Transient as error:
            settle(None if error.charged else 0.0)
            raise
        except (Declined, Unanswered, HarnessError):
            settle(0.0)
            raise
        except BaseException:
            settle(None)
            raise
        found, faults = read_answer(answer, self.settings.api, ask.stop)
        usage = _usage(answer)
        completions = self._completions(ask, found[:wanted], *(usage or (0, 0)))
        if self._price is None:
            usd: float | None = 0.0
        elif usage is not None:
            usd = self._price.usd(*usage)
        else:  # an error reports no usage and is not charged; an answer without usage is booked at the most it may cost
            usd = None if found else 0.0
        if usd is None:
            share = self._most(body) / len(completions)
            completions = [dataclasses.replace(one, cost={**one.cost, "usd": share}) for one in completions]
        fields = [{"text": c.text, "finish": c.finish, "cost": c.cost, "reason": c.reason} for c in completions]
        settle(self._most(body) if usd is None else usd, _answered(answer), fields)
        if not completions:
            raise Transient(self._endpoint.said(faults[0]))
        return completions

    def _most(self, body: Mapping[str, Any]) -> float:
        """The most that a call may cost, in US dollars, taking every byte of the prompt as a token."""
        if self._price is None:
            return 0.0
        prompt = len(json.dumps(body.get("messages") or body.get("prompt") or "", ensure_ascii=False).encode())
        longest = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        written = longest if isinstance(longest, int) else 0
        return self._price.usd(prompt, int(body.get("n") or 1) * written)

    @property
    def _accounts(self) -> Ledger:
        """The run's ledger, or outside a run one of this model's own."""
        if self.ledger is None:
            self.ledger = ledger.Ledger()
        return self.ledger

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

    def _completions(
        self, ask: Request, found: Sequence[tuple[str, Finish, str]], prompt_tokens: int, completion_tokens: int
    ) -> list[Completion]:
        out = []
        for index, (text, finish, reason) in enumerate(found):
            # Calls are billed, not samples: the prompt is booked on the first one, the rest divided; sums are exact.
            share = completion_tokens // len(found) + (1 if index < completion_tokens % len(found) else 0)
            cost: dict[str, Any] = {"prompt_tokens": 0 if index else prompt_tokens, "completion_tokens": share}
            if self._price is not None:
                cost["usd"] = self._price.usd(cost["prompt_tokens"], share)
            out.append(Completion(ask, text, finish=finish, cost=cost, reason=reason))
        return out


def _find_price(own: OpenAISettings, base: str) -> Price | None:
    listed = price_of(own.path, own.prices) if own.prices or own.base_url.rstrip("/") == _OPENAI else None
    paid_in = own.input_price if listed is None or own.input_price is not None else listed.input
    paid_out = own.output_price if listed is None or own.output_price is not None else listed.output
    if paid_in is not None and paid_out is not None:
        share = _BATCH_SHARE if own.batch else 1.0
        return Price(share * paid_in, share * paid_out)
    if own.max_cost:
        raise UsageError(
            f"{base}: max_cost needs a price, and the table has none; set input_price and output_price "
            "(US dollars per million tokens)"
        )
    return None


def _key(settings: OpenAISettings) -> str:
    key = os.environ.get(settings.key_env, "") if settings.key_env else ""
    if not key and settings.base_url.rstrip("/") == _OPENAI:
        raise UsageError(f"the model openai needs a key: the environment variable {settings.key_env!r} is not set")
    return key or "unused"


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(?i)\b(sk|pk|rk|gsk|hf|xai|ghp)[-_][A-Za-z0-9_*.-]{12,}|\bAIza[\w-]{20,}|\bBearer\s+\S{8,}")


def _refuse_keys(settings: OpenAISettings) -> None:
    """Refuse a key in the configuration, which is stored and shown; the message does not repeat it."""
    mend = "put the key into an environment variable, and that variable's name into key_env"
    name = settings.key_env
    by_chance = len(name) >= 20 and name != name.upper() and any(letter.isdigit() for letter in name)
    if name and (not _VARIABLE.fullmatch(name) or _SECRET.search(name) or by_chance):
        raise UsageError(f"model openai: key_env is not the name of an environment variable; {mend}")
    try:
        url = urllib.parse.urlsplit(settings.base_url)
    except ValueError:
        url = urllib.parse.SplitResult("", "", "", "", "")
    if "@" in settings.base_url or url.query or url.fragment or _SECRET.search(settings.base_url):
        raise UsageError(f"model openai: base_url holds more than an address (a user, a query or a key); {mend}")
    if url.scheme not in ("http", "https") or not url.netloc:
        raise UsageError("model openai: base_url is not an address such as http://127.0.0.1:8000/v1")
    if _SECRET.search(json.dumps([settings.path, dict(settings.body)])):
        raise UsageError(f"model openai: path or body contains a key; {mend}")


def _connect(settings: OpenAISettings) -> Endpoint:
    try:
        from harness.models.endpoint import Endpoint
    except ImportError as error:
        raise UsageError(
            f"the model openai needs the package {error.name}: pip install 'selfadapt-harness[openai]'"
        ) from error
    return Endpoint(
        settings.base_url,
        _key(settings),
        retries=settings.retries,
        backoff=settings.backoff,
        timeout=settings.timeout,
        per_minute=settings.requests_per_minute,
    )


def _errors(ask: Request, why: str) -> list[Completion]:
    return [Completion(ask, "", finish="error", reason=why) for _ in range(ask.n)]


def read_answer(
    answer: Mapping[str, Any], api: str, stop: Sequence[str]
) -> tuple[list[tuple[str, Finish, str]], list[object]]:
    """Text, finish and reason of every usable choice, and what is wrong with the others, or with the answer.

    A missing text, or an error of the endpoint, is never taken for an empty answer of the model. Texts are cut at the
    first stop text, which some servers leave in.
    """
    choices = answer.get("choices")
    if answer.get("error"):
        return [], [answer["error"]]
    if not isinstance(choices, list) or not choices:
        return [], ["the answer holds no choices"]
    found: list[tuple[str, Finish, str]] = []
    faults: list[object] = []
    for choice in choices:
        try:
            found.append(_read(choice, api, stop))
        except _Unusable as error:
            faults.append(str(error))
    return found, faults


class _Unusable(Exception):
    """A choice without a text by the model."""


_BROKEN_OFF = frozenset({"error", "abort", "cancelled"})
"""Values of ``finish_reason`` by which servers report a failure of their own."""


def _read(choice: Any, api: str, stop: Sequence[str]) -> tuple[str, Finish, str]:
    if not isinstance(choice, Mapping):
        raise _Unusable("the answer's choices are malformed")
    reason = choice.get("finish_reason")
    if choice.get("error") or reason in _BROKEN_OFF:
        raise _Unusable(f"the endpoint stopped with an error: {choice.get('error') or reason}")
    holder = choice.get("message") if api == "chat" else choice
    if not isinstance(holder, Mapping):
        raise _Unusable("a choice holds no message")
    if holder.get("refusal"):
        return "", "failed", "refused"
    if reason == "content_filter":
        return "", "failed", "content filter"
    field_name = "content" if api == "chat" else "text"
    text = holder.get(field_name)
    if not isinstance(text, str):
        raise _Unusable(f"a choice holds no text ({field_name} is {text!r:.40}, finish_reason {reason!r:.40})")
    text, stopped = cut(text, stop)
    return text, "length" if reason == "length" and not stopped else "stop", ""


def _usage(answer: Mapping[str, Any]) -> tuple[int, int] | None:
    """Prompt and completion tokens; None where the endpoint does not say."""
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return None
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (one if type(one) is int and 0 <= one < 2**40 else None for one in counts)
    return None if prompt is None and completion is None else (prompt or 0, completion or 0)


def _answered(answer: Mapping[str, Any]) -> str:
    """The model that answered, as the endpoint reports it; "" where it does not."""
    model = answer.get("model")
    return model[:200] if isinstance(model, str) else ""


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
