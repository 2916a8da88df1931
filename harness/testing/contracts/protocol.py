"""The rules for protocols (:class:`harness.api.EvaluationProtocol`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from harness.api import HEADLINE, EditAsk, EvaluationProtocol, SelfEdit, Session
from harness.registry.build import BuiltComponent
from harness.runs.bench import RunBench
from harness.runs.measured import SeedTable, take
from harness.session.service import SessionService
from harness.testing.contracts.base import Contract, under_global_seed


class ProtocolContract(Contract):
    """Subclass it, set ``component`` to the protocol's class, and run pytest."""

    kind: ClassVar[str] = "protocol"
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {}
    """Slots beyond ``editor updater policy reward evaluator``, as ``{name: (kind, component)}``."""
    samples: ClassVar[int] = 2

    # --- shape ---

    def test_the_headline_covers_the_split(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            self._is_whole(self._measured(s), s)

    def test_a_method_without_an_editor_is_measured_too(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            bench = self._bench(s)
            bench.has_editor = False
            self._is_whole(take(self._built(), bench), s)

    def test_an_editor_that_writes_nothing_is_measured_too(self, tmp_path: Path) -> None:
        with self._open(tmp_path, editor=("editor", _FailedEdits(0))) as s:
            self._measured(s)

    # --- determinism ---

    def test_resuming_repeats_it_from_the_journal(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            once = under_global_seed(1, lambda: self._measured(s))
        with self._open(tmp_path) as s:
            again = under_global_seed(2, lambda: self._measured(s))
            assert s.journal.ran == 0, (
                f"{s.journal.ran} effects were done again on resume: what it does next depends on something that is "
                "not journalled (time, a global generator, a set's order)"
            )
        assert _plain(once) == _plain(again), "a resumed measurement gives other scores"

    # --- right, wrong, failed ---

    def test_failed_edits_count_as_wrong(self, tmp_path: Path) -> None:
        with self._open(tmp_path, editor=("editor", _FailedEdits(1))) as s:
            cells = self._measured(s)[HEADLINE].cells(None)
            assert all(value == 0.0 for value, _ in cells.values()), (
                f"every edit failed, yet the scores are {sorted({value for value, _ in cells.values()}, key=str)}"
            )

    # --- how ---

    @contextmanager
    def _open(self, folder: Path, **slots: Any) -> Iterator[SessionService]:
        with self.session(folder, None, **{**self.slots, **slots}) as s:
            s.deploying()
            yield s

    def _bench(self, s: SessionService) -> RunBench:
        return RunBench(s, "test", samples=self.samples)

    def _built(self) -> BuiltComponent[EvaluationProtocol]:
        return BuiltComponent(self.kind, self.component.__name__, self.make(), {}, {}, "the plugin under test")

    def _measured(self, s: SessionService) -> dict[str, SeedTable]:
        return take(self._built(), self._bench(s))

    def _is_whole(self, tables: Mapping[str, SeedTable], s: SessionService) -> None:
        asked = {query.id for episode in self._bench(s).full(HEADLINE) for query in episode.queries}
        headline = tables[HEADLINE]
        scored = {score.query for score in headline.last}
        assert scored == asked, f"measurement {HEADLINE!r} lacks queries {sorted(asked - scored)[:3]}"


class _FailedEdits:
    """An editor that returns ``count`` failed edits per episode."""

    def __init__(self, count: int) -> None:
        self._count = count

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        return [
            [SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, (), status="failed") for n in range(self._count)]
            for ask in asks
        ]


def _plain(tables: Mapping[str, SeedTable]) -> list[Any]:
    return [(name, step, list(scores)) for name, table in tables.items() for step, scores in table.scores.items()]
