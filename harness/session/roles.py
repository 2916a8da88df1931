"""The current state of each role; a role may follow another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from harness.api import State
from harness.errors import UsageError, nearest


class Roles(MutableMapping[str, State]):
    """Role -> state. A role defined as ``@other`` has the other's state until it is set itself."""

    def __init__(self, states: Mapping[str, State], follows: Mapping[str, str]) -> None:
        self._states = dict(states)
        self._follows = dict(follows)
        for role in follows:
            self.leader(role)

    def leader(self, role: str) -> str:
        """The role whose state this one has, through any chain; itself where it follows none."""
        seen = [role]
        while role in self._follows:
            role = self._follows[role]
            if role in seen:
                raise UsageError(f"roles follow each other in a circle: {' -> '.join([*seen, role])}")
            seen.append(role)
        if role not in self._states:
            raise UsageError(f"there is no role {role!r}.{nearest(role, [*self._states, *self._follows])}")
        return role

    def __getitem__(self, role: str) -> State:
        if role not in self._states and role not in self._follows:
            raise UsageError(f"there is no role {role!r}.{nearest(role, self)}")
        return self._states[self.leader(role)]

    def __setitem__(self, role: str, state: State) -> None:
        self._follows.pop(role, None)
        self._states[role] = state

    def __delitem__(self, role: str) -> None:
        self._follows.pop(role, None)
        self._states.pop(role, None)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._states, *self._follows}))

    def __len__(self) -> int:
        return len({*self._states, *self._follows})
