"""The costs of a run's paid calls: every call is entered before it is sent, and settled when it ends.

An entry is ``open`` while its call is in flight, then ``settled``. A call that was open when a process was killed may
have been charged, so the resumed run counts it as spent, at the most that it could cost (``lost``). An answer is stored
with its entry as soon as it arrives. If a kill, or the failure of another call, prevents it from being booked, the same
request is answered from here and not paid for twice.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.books.folder import goes_on
from harness.books.item import is_sealed, seal, text
from harness.errors import Damaged, RunError
from harness.text import repaired

TABLE = """
CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY, account TEXT NOT NULL, request TEXT NOT NULL, state TEXT NOT NULL,
    estimate TEXT NOT NULL, usd TEXT NOT NULL, answered TEXT NOT NULL, completions TEXT NOT NULL,
    seal TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_requests ON ledger (request);
"""
COLUMNS = ("account", "request", "state", "estimate", "usd", "answered", "completions")
"""The columns that an entry's checksum covers, in this order; the column ``seal`` after them holds it."""

_ENTRIES = f"SELECT entry, {', '.join(COLUMNS)}, seal FROM ledger"


@dataclass
class Account:
    """The costs of one remote model, in US dollars."""

    spent: float = 0.0
    """The cost of all calls that ended, lost ones included."""
    lost: float = 0.0
    """An upper bound on the part of ``spent`` without an answer: calls in flight at a kill, or that timed out."""
    held: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Entry of a call in flight -> its estimate, and the most that it may cost."""
    excess: float = 1.0
    """The largest ratio of a call's cost to its estimate, and at least 1."""
    calls: int = 0
    """The number of calls that were answered, or may have been."""
    answered: Counter[str] = field(default_factory=Counter)
    """Model that answered, as the endpoint reports it -> number of calls."""


class Ledger:
    """The accounts of one run, or of one process where there is no run. Thread-safe.

    Args:
        path: the run's journal; None keeps the accounts in memory, without answers.
        mend: delete damaged entries instead of raising.

    Raises:
        Damaged: an entry is not what was written.
    """

    def __init__(self, path: Path | None = None, *, mend: bool = False) -> None:
        self.limit = 0.0
        """The limit of every account in US dollars, which overrides those that models set; 0 for no override."""
        self.default = 0.0
        """The limit in US dollars of accounts whose models set none; 0 for no limit."""
        self._path = path
        self._run = path.parent if path else Path("RUN")
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=30, check_same_thread=False)
        self._changed = threading.Condition()
        self._accounts: dict[str, Account] = {}
        if path is None:
            self._db.executescript(TABLE)
            return
        for entry, *values, sealed in self._db.execute(_ENTRIES).fetchall():
            if is_sealed(values, sealed):
                account, _, state, estimate, usd, answered, completions = values
                lost = state != "settled"
                self._count(account, float(estimate), float(usd), answered, lost=lost, came=completions != "[]")
            elif mend:
                self._db.execute("DELETE FROM ledger WHERE entry = ?", (entry,))
            else:
                self._db.close()
                raise Damaged(path, f"entry {entry} of the ledger")

    def close(self) -> None:
        self._db.close()

    def reserve(self, account: str, request: str, usd: float, limit: float = 0.0, *, may_exceed: bool = True) -> int:
        """Enter a call that is about to be sent, and return the entry's number.

        Calls in flight hold the most that they may cost, and this one waits until it fits beside them. Until a call of
        the account has shown its true cost, calls under a limit are sent one at a time. A call that is sent alone may
        exceed the limit, by at most its own price.

        Args:
            request: digest of the request.
            usd: the most that the call may cost.
            limit: the most that the account may reach, in US dollars; 0 for no limit.
            may_exceed: whether a call that is sent alone may exceed the limit; False refuses one that could.

        Raises:
            RunError: the limit is reached.
        """
        with self._changed:
            own = self._accounts.setdefault(account, Account())
            limit = self.limit or limit or self.default
            if limit and not may_exceed and own.spent + usd > limit > own.spent:
                raise RunError(
                    f"{account}: a batch may cost up to ${usd:.2f}, and max_cost of ${limit:.2f} leaves "
                    f"${limit - own.spent:.2f}; `harness resume RUN --max-cost DOLLARS` goes on"
                )
            while limit:
                if own.spent >= limit:
                    raise RunError(
                        f"{account}: max_cost of ${limit:.2f} reached (${own.spent:.2f} spent); what was paid for is "
                        f"booked, and `{goes_on(self._run)} --max-cost DOLLARS` goes on"
                    )
                on_the_way = sum(most for _, most in own.held.values())
                if not own.held or (own.calls and own.spent + on_the_way + usd * own.excess <= limit):
                    break
                self._changed.wait()
            most = usd * own.excess
            values = (account, request, "open", repr(usd), repr(most), "", "[]")
            entry = self._write("INSERT INTO ledger VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            own.held[entry] = usd, most
            return entry

    def reopen(self, account: str, prefix: str) -> list[tuple[int, str]]:
        """Entries that an earlier process left open, whose requests begin with ``prefix``: ``(entry, request)``.

        They are calls in flight again, and no longer counted as spent.
        """
        with self._changed:
            own = self._accounts.setdefault(account, Account())
            rows = self._db.execute(
                "SELECT entry, request, estimate, usd FROM ledger WHERE account = ? AND state = 'open' ORDER BY entry",
                (account,),
            ).fetchall()
            found = []
            for entry, request, estimate, usd in rows:
                if entry not in own.held and request.startswith(prefix):
                    own.held[entry] = float(estimate), float(usd)
                    own.spent -= float(usd)
                    own.lost -= float(usd)
                    own.calls -= 1
                    found.append((entry, request))
            return found

    def enter(
        self, account: str, request: str, usd: float, answered: str, completions: Sequence[Mapping[str, Any]]
    ) -> None:
        """Enter an answer to a call that is part of another entry, such as a batch."""
        with self._changed:
            kept = text(repaired(list(completions))[0]) if self._path else "[]"
            values = (account, request, "settled", repr(0.0), repr(usd), repaired(answered)[0], kept)
            self._write("INSERT INTO ledger VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", values)
            self._count(account, 0.0, usd, answered, lost=False, came=bool(completions))

    def settle(
        self,
        account: str,
        request: str,
        entry: int,
        usd: float | None,
        answered: str = "",
        completions: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Enter how a call ended.

        Args:
            usd: what it cost; None where no answer came although it may have been charged.
            answered: the model that answered, as the endpoint reports it.
            completions: what came back, as plain JSON.
        """
        with self._changed:
            own = self._accounts[account]
            estimate, most = own.held.pop(entry)
            state = "lost" if usd is None else "settled"
            cost = most if usd is None else usd
            kept = text(repaired(list(completions))[0]) if self._path else "[]"
            values = (account, request, state, repr(estimate), repr(cost), repaired(answered)[0], kept)
            names = ", ".join(f"{name} = ?" for name in (*COLUMNS, "seal"))
            try:
                self._write(f"UPDATE ledger SET {names} WHERE entry = {entry:d}", values)
            finally:
                self._count(account, estimate, cost, answered, lost=usd is None, came=bool(completions))
                self._changed.notify_all()

    def answers(self, request: str) -> list[dict[str, Any]]:
        """The completions received for a request, in the order in which they came. Raises :class:`Damaged`."""
        if self._path is None:
            return []
        with self._changed:
            rows = self._db.execute(f"{_ENTRIES} WHERE request = ? ORDER BY entry", (request,)).fetchall()
        out: list[dict[str, Any]] = []
        for _, *values, sealed in rows:
            if not is_sealed(values, sealed):
                raise Damaged(self._path, f"the ledger's answer to {request[:12]!r}")
            out += json.loads(values[-1])
        return out

    def accounts(self) -> dict[str, Account]:
        """All accounts, by the names of their models."""
        with self._changed:
            return dict(self._accounts)

    def _count(self, account: str, estimate: float, usd: float, answered: str, *, lost: bool, came: bool) -> None:
        own = self._accounts.setdefault(account, Account())
        own.spent += usd
        own.lost += usd if lost else 0.0
        own.calls += lost or came
        if estimate:
            own.excess = max(own.excess, usd / estimate)
        if answered:
            own.answered[answered] += 1

    def _write(self, statement: str, values: tuple[str, ...]) -> int:
        try:
            return self._db.execute(statement, (*values, seal(values))).lastrowid or 0
        except sqlite3.Error as error:
            raise RunError(
                f"the ledger in {self._path} could not be written ({error}), and no call is sent without an entry: "
                "make room and resume"
            ) from error
