"""What a run's paid calls may cost and have cost: every call is entered before it is sent, and settled when it ends.

An entry is ``open`` while its call is on the way, then ``settled``. What was open when a process was killed may have
been charged, so the next life of the run counts it as spent, at the most that it could cost (``lost``). An answer is
kept with its entry as it arrives: whoever asks the same again, because a kill or a failed call beside it came before
the answer could be booked, gets it from here and does not pay twice.
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
"""What an entry's checksum is over, in this order; the column ``seal`` after them holds it."""

_ENTRIES = f"SELECT entry, {', '.join(COLUMNS)}, seal FROM ledger"


@dataclass
class Account:
    """What one remote model has cost, in US dollars."""

    spent: float = 0.0
    """What came to an end, what was lost included."""
    lost: float = 0.0
    """The part of it that brought no answer: in flight at a kill, or given up waiting for. At most so much."""
    held: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Entry of a call that is on the way -> its estimate, and the most that it may cost."""
    excess: float = 1.0
    """The most that a call has cost as a multiple of its estimate, and at least 1."""
    calls: int = 0
    """Those that brought something, or may have."""
    answered: Counter[str] = field(default_factory=Counter)
    """Model that the endpoint says has answered -> calls."""


class Ledger:
    """The accounts of one run, or of one process where there is no run. Threads may share it.

    Args:
        path: the run's journal; None keeps the accounts in memory, and no answers.
        mend: drop entries that are damaged.

    Raises:
        Damaged: an entry is not what was written.
    """

    def __init__(self, path: Path | None = None, *, mend: bool = False) -> None:
        self.limit = 0.0
        """US dollars that each account may come to, instead of the limit that its model sets; 0 leaves those."""
        self.default = 0.0
        """The limit of accounts whose models set none; 0 is none."""
        self._path = path
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

    def reserve(self, account: str, request: str, usd: float, limit: float = 0.0) -> int:
        """Enter a call that is about to be sent, as soon as there is room for it; answers the entry's number.

        Calls on the way hold the most that they may cost. A call waits until it fits beside them. While nothing of the
        account is known but estimates, calls with a limit go one at a time; and one that goes alone may go over the
        limit, by its own price.

        Args:
            request: digest of what is asked.
            usd: the most that it may cost.
            limit: US dollars that the account may come to; 0 is none.

        Raises:
            RunError: the limit is reached.
        """
        with self._changed:
            own = self._accounts.setdefault(account, Account())
            limit = self.limit or limit or self.default
            while limit:
                if own.spent >= limit:
                    raise RunError(
                        f"{account}: max_cost of ${limit:.2f} reached (${own.spent:.2f} spent); what was paid for is "
                        "booked, and `harness resume RUN --max-cost DOLLARS` goes on"
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
            usd: what it cost; None where no answer came and it may have been charged nevertheless.
            answered: the model that the endpoint says has answered.
            completions: what came, as plain JSON.
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
        """The completions that came for a request, in the order in which they came. Raises :class:`Damaged`."""
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
        """Every account by its model's name."""
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
                f"the ledger in {self._path} could not be written ({error}); nothing is sent that is not entered: "
                "make room and resume"
            ) from error
