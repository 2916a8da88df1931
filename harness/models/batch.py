"""OpenAI's batch mode: many requests in one file, answered within a day at half the price.

A batch is entered in the run's ledger under a key of its own before anything is sent, and carries that key in its
metadata. So a run that was killed or parked finds its batches again by listing them, and sends nothing twice: an item
is submitted only if it has no answer in the ledger and is in no batch that is still at work. An item's ``custom_id`` is
the digest of its request and the number of samples that it has already.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from harness.api import Completion, Ledger, Request
from harness.errors import Parked
from harness.models.endpoint import Declined, Endpoint, Transient, Unanswered

MOST_REQUESTS = 50_000
MOST_BYTES = 100_000_000
"""Limits of one batch's file; OpenAI's own are 50,000 requests and 200 MB."""
_KEY = "batch-"
"""Prefix of the ledger's entries of batches."""
_AT_WORK = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_AT_WORK_OF: WeakKeyDictionary[Ledger, dict[str, dict[str, tuple[int, str, frozenset[str]]]]] = WeakKeyDictionary()
"""Ledger -> account -> its batches. They outlast a call: a run submits those of all its packs before it parks, and each
pack's answers are collected by the call that asks for them."""
_POLL = 10.0
"""Seconds between two looks at a batch."""


@dataclass(frozen=True)
class Item:
    """One request of a batch."""

    ask: Request
    request: str
    """Its digest, under which the ledger keeps its answers."""
    first: int
    """Samples that were answered before."""
    body: Mapping[str, Any]
    most: float
    """The most that it may cost, in US dollars."""

    @property
    def id(self) -> str:
        return f"{self.request}-{self.first}"


class Reader(Protocol):
    """What the backend makes of an answer's body: completions, cost in US dollars, and the model that answered.

    Raises :class:`harness.models.endpoint.Transient` for an answer without a usable choice.
    """

    def __call__(self, item: Item, body: Mapping[str, Any], /) -> tuple[list[Completion], float, str]: ...


@dataclass
class Batches:
    """The batches of one model in one run.

    Args:
        account: the model's name in the ledger.
        path: the endpoint's path of one request, such as ``/v1/chat/completions``.
        limit: US dollars that the account may reach; 0 for no limit.
        wait: seconds to wait for the answers before the run is parked.
    """

    endpoint: Endpoint
    ledger: Ledger
    account: str
    path: str
    limit: float
    wait: float
    read: Reader
    price: Callable[[Mapping[str, Any]], float]
    """The cost of an answer's body, in US dollars, whatever it answers."""

    def __post_init__(self) -> None:
        of_run = _AT_WORK_OF.setdefault(self.ledger, {})
        self._at_work = of_run.setdefault(self.account, {})
        """Key -> entry in the ledger, id at the endpoint, custom ids."""

    def answers(self, items: Sequence[Item]) -> dict[str, list[Completion]]:
        """Custom id -> completions, for all items. Those that the endpoint did not answer have finish ``error``.

        Raises:
            Parked: a batch is still at work after the time to wait.
            RunError: the batch may cost more than the limit leaves.
        """
        wanted = {item.id: item for item in items}
        found: dict[str, list[Completion]] = {}
        for entry, key in self.ledger.reopen(self.account, _KEY):
            batch = self._find(key)
            if batch is None:  # killed before it was submitted
                self.ledger.settle(self.account, key, entry, 0.0)
            else:
                self._at_work[key] = entry, batch["id"], self._inputs(batch)
        self._collect(wanted, found)
        sent = {one for _, _, ids in self._at_work.values() for one in ids}
        missing = [item for item in items if item.id not in found and item.id not in sent]
        for part in _parts(missing):
            self._submit(part)
        until = time.monotonic() + self.wait
        while self._mine(wanted):
            self._collect(wanted, found)
            left = until - time.monotonic()
            if not self._mine(wanted) or left <= 0:
                break
            time.sleep(min(_POLL, max(self.wait / 20, 0.05), left))
        if self._mine(wanted):
            names = ", ".join(sorted(batch for _, batch, _ in self._at_work.values()))
            count = sum(len(ids) for _, _, ids in self._at_work.values())
            raise Parked(
                f"{self.account}: {count} requests are at work in batch {names}, which may take a day; what was "
                "answered is booked, and `harness resume` looks again"
            )
        return found

    def _mine(self, wanted: Mapping[str, Item]) -> list[str]:
        """The keys of the batches at work that hold a wanted item."""
        return [key for key, (_, _, ids) in self._at_work.items() if not ids.isdisjoint(wanted)]

    def _submit(self, items: Sequence[Item]) -> None:
        key = _KEY + uuid.uuid4().hex
        entry = self.ledger.reserve(self.account, key, sum(item.most for item in items), self.limit, may_exceed=False)
        lines = [
            json.dumps({"custom_id": item.id, "method": "POST", "url": self.path, "body": dict(item.body)})
            for item in items
        ]
        data = ("\n".join(lines) + "\n").encode()

        def create() -> Mapping[str, Any]:
            # An attempt that timed out may have arrived: look before sending again.
            known = self._find(key)
            if known is not None:
                return known
            file = self.endpoint.call(lambda client: client.files.create(file=(f"{key}.jsonl", data), purpose="batch"))

            def submit(client: Any) -> Any:
                return client.batches.create(
                    input_file_id=file["id"], endpoint=self.path, completion_window="24h", metadata={"harness": key}
                )

            return self.endpoint.call(submit)

        try:
            batch = self.endpoint.insist(create)
        except Unanswered as error:
            # Whether it arrived is not known; the entry stays open, so the resumed run looks for it.
            raise Parked(f"{self.account}: {error}; `harness resume` looks whether the batch has arrived") from None
        except Exception:
            self.ledger.settle(self.account, key, entry, 0.0)
            raise
        self._at_work[key] = entry, batch["id"], frozenset(item.id for item in items)

    def _collect(self, wanted: Mapping[str, Item], found: dict[str, list[Completion]]) -> None:
        """Book what ended batches with wanted items answered, item by item, and then close their entries."""
        for key in self._mine(wanted):
            entry, name, ids = self._at_work[key]
            batch = self._retrieve(name)
            if batch["status"] in _AT_WORK:
                continue
            answered = set()
            for line in self._lines(batch.get("output_file_id"), batch.get("error_file_id")):
                if line["custom_id"] in answered or line["custom_id"] not in ids:
                    continue
                answered.add(line["custom_id"])
                self._book(line, wanted.get(line["custom_id"]), found)
            why = f"the batch {batch['status']}{self._said(batch)}"
            for one in ids - answered:
                if one in wanted:
                    found[one] = _errors(wanted[one], why)
            self.ledger.settle(self.account, key, entry, 0.0)
            del self._at_work[key]

    def _book(self, line: Mapping[str, Any], item: Item | None, found: dict[str, list[Completion]]) -> None:
        response = line.get("response") or {}
        said = response.get("body")
        body: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
        request = str(line["custom_id"]).rpartition("-")[0]
        if item is None:  # asked by a configuration that has changed since: paid for, but of no use
            if not self._booked(request, int(str(line["custom_id"]).rpartition("-")[2])):
                self.ledger.enter(self.account, request, self.price(body), "", [])
            return
        if self._booked(item.request, item.first):
            kept = self.ledger.answers(item.request)[item.first :]
            found[item.id] = [Completion(item.ask, **fields) for fields in kept]
            return
        try:
            if line.get("error") or response.get("status_code") != 200:
                self.endpoint.refused(line.get("error") or body.get("error") or f"HTTP {response.get('status_code')}")
            completions, usd, model = self.read(item, body)
        except Declined as error:
            count = item.ask.n - item.first
            completions = [Completion(item.ask, "", finish="failed", reason=str(error)) for _ in range(count)]
            usd, model = 0.0, ""
        except (Transient, Unanswered) as error:
            found[item.id] = _errors(item, str(error))
            return
        fields = [{"text": c.text, "finish": c.finish, "cost": c.cost, "reason": c.reason} for c in completions]
        self.ledger.enter(self.account, item.request, usd, model, fields)
        found[item.id] = completions

    def _booked(self, request: str, first: int) -> bool:
        """Whether an answer was entered before a kill that came before the batch's own entry was closed."""
        return len(self.ledger.answers(request)) > first

    def _find(self, key: str) -> Mapping[str, Any] | None:
        """The batch with a key in its metadata, among all that the endpoint lists."""
        after: str | None = None
        while True:
            page = self._page(after)
            for batch in page["data"]:
                if (batch.get("metadata") or {}).get("harness") == key:
                    return dict(batch)
            if not page.get("has_more") or not page["data"]:
                return None
            after = page["data"][-1]["id"]

    def _inputs(self, batch: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(line["custom_id"] for line in self._lines(batch["input_file_id"]))

    def _lines(self, *files: str | None) -> Iterator[Mapping[str, Any]]:
        for name in filter(None, files):
            text = self._content(name)
            for line in text.splitlines():
                try:
                    found = json.loads(line)
                except ValueError:
                    continue  # half a line; its item has no answer
                if isinstance(found, Mapping) and isinstance(found.get("custom_id"), str):
                    yield found

    def _retrieve(self, batch: str) -> Mapping[str, Any]:
        return self.endpoint.insist(lambda: self.endpoint.call(lambda client: client.batches.retrieve(batch)))

    def _page(self, after: str | None) -> Mapping[str, Any]:
        more: dict[str, Any] = {"after": after} if after else {}
        return self.endpoint.insist(lambda: self.endpoint.call(lambda client: client.batches.list(limit=100, **more)))

    def _content(self, file: str) -> str:
        return self.endpoint.insist(lambda: self.endpoint.text(lambda client: client.files.content(file)))

    def _said(self, batch: Mapping[str, Any]) -> str:
        errors = (batch.get("errors") or {}).get("data") or []
        return f": {self.endpoint.said(errors[0])}" if errors else ""


def _parts(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items as files of a permitted size; a request that occurs twice is sent once."""
    part: dict[str, Item] = {}
    size = 0
    for item in items:
        length = len(json.dumps(dict(item.body)).encode()) + 200
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield list(part.values())
            part, size = {}, 0
        size += 0 if item.id in part else length
        part[item.id] = item
    if part:
        yield list(part.values())


def _errors(item: Item, why: str) -> list[Completion]:
    return [Completion(item.ask, "", finish="error", reason=why) for _ in range(item.ask.n - item.first)]
