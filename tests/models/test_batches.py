"""OpenAI's batch mode: parked and resumed, nothing sent twice; an item ends as an answer, a refusal or an error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("tenacity")

import harness
from harness.api import Completion, Request, State
from harness.books.journal import Journal
from harness.errors import Parked, RunError, UsageError
from harness.models.batch import Item, _parts
from harness.models.openai import OpenAIModel, OpenAISettings
from tests.models.fake_batches import FakeBatches, answered, serve

NAMES = ["elm", "fir", "oak", "ash"]


@pytest.fixture
def fake() -> Iterator[FakeBatches]:
    with serve() as found:
        yield found


def ask(
    fake: FakeBatches, folder: Path, names: list[str] = NAMES, n: int = 1, **settings: Any
) -> list[list[Completion]]:
    """One life of a process: the ledger of ``folder`` is opened, asked from, and closed."""
    own = OpenAISettings(
        path="m-1", base_url=fake.url, key_env="", batch=True, retries=1, backoff=0.01, input_price=100.0,
        output_price=0.0, **settings,
    )  # fmt: skip
    model = OpenAIModel(own)
    journal = Journal(folder)
    try:
        model.ledger = journal.ledger
        asks = [Request(State(model.base), f"Which tree is {name}?", n=n, max_tokens=4) for name in names]
        return [list(row) for row in model.generate(asks)]
    finally:
        journal.close()


def spent(folder: Path) -> tuple[float, float]:
    """US dollars spent, and the part that was lost."""
    journal = Journal(folder)
    try:
        account = journal.ledger.accounts()["openai:m-1"]
        return account.spent, account.lost
    finally:
        journal.close()


def echo(body: Mapping[str, Any]) -> dict[str, Any]:
    text = body["messages"][-1]["content"]
    return answered(*[text.split()[-1]] * body["n"])


def test_a_run_parks_and_goes_on(fake: FakeBatches, tmp_path: Path) -> None:
    fake.answer = echo
    with pytest.raises(Parked, match=r"4 requests are at work in batch batch_0"):
        ask(fake, tmp_path)
    with pytest.raises(Parked):
        ask(fake, tmp_path)
    fake.end = "completed"
    found = ask(fake, tmp_path)
    assert [one.text for [one] in found] == [f"{name}?" for name in NAMES]
    assert len(fake.batches) == 1
    assert spent(tmp_path) == pytest.approx((4 * 0.05, 0.0))  # 1,000 tokens at half of $100 per million
    assert [one.cost["usd"] for [one] in found] == pytest.approx([0.05] * 4)
    assert [one.text for [one] in ask(fake, tmp_path)] == [f"{name}?" for name in NAMES]  # from the ledger
    assert len(fake.batches) == 1


def test_what_is_at_work_is_not_counted_as_lost_after_it_came(fake: FakeBatches, tmp_path: Path) -> None:
    with pytest.raises(Parked):
        ask(fake, tmp_path)
    assert spent(tmp_path)[1] > 0  # a reader of the parked run sees the most that it may cost
    fake.end = "completed"
    ask(fake, tmp_path)
    assert spent(tmp_path)[1] == 0


@pytest.mark.parametrize("late", [False, True])
def test_a_submission_that_failed_or_was_not_heard_of_is_not_repeated(
    fake: FakeBatches, tmp_path: Path, late: bool
) -> None:
    """``late``: the batch was taken, but its answer was an error, so only a list can tell."""
    fake.refuse, fake.late, fake.end, fake.answer = (lambda count: 503 if count == 1 else 0), late, "completed", echo
    assert [one.text for [one] in ask(fake, tmp_path)] == [f"{name}?" for name in NAMES]
    assert len(fake.batches) == 1
    assert fake.submissions == (1 if late else 2)


@pytest.mark.parametrize("late", [False, True])
def test_killed_between_submitting_and_booking(
    fake: FakeBatches, tmp_path: Path, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends while it submits (``late``: after the endpoint took the batch)."""
    from harness.models.endpoint import Endpoint

    fake.answer, before, calls = echo, Endpoint.call, []

    def killed(self: Endpoint, what: Any) -> Any:
        calls.append(1)
        if len(calls) == (4 if late else 3):  # list, upload, create, and then the look at the batch
            raise KeyboardInterrupt
        return before(self, what)

    with monkeypatch.context() as patch:
        patch.setattr(Endpoint, "call", killed)
        # A kill leaves the entry open: an interrupt must not close it either once the batch may have been sent.
        with pytest.raises(KeyboardInterrupt):
            ask(fake, tmp_path)
    assert len(fake.batches) == (1 if late else 0)
    fake.end = "completed"
    assert [one.text for [one] in ask(fake, tmp_path)] == [f"{name}?" for name in NAMES]
    assert sorted(fake.sent()) == sorted(set(fake.sent()))
    assert len(fake.batches) == 1


def test_other_batches_and_a_changed_set_of_requests(fake: FakeBatches, tmp_path: Path) -> None:
    fake.answer = echo
    with pytest.raises(Parked):
        ask(fake, tmp_path, NAMES[:2])
    for _ in range(5):  # those of somebody else, on several pages
        fake.batches.append({"id": f"batch_{len(fake.batches)}", "object": "batch", "status": "completed",
                             "input_file_id": "file-0", "metadata": None, "created_at": 1})  # fmt: skip
    fake.end = "completed"
    assert [one.text for [one] in ask(fake, tmp_path)] == [f"{name}?" for name in NAMES]
    mine = [one for one in fake.batches if one["metadata"]]
    assert [fake.files[one["input_file_id"]].count("\n") for one in mine] == [2, 2]


def test_packs_are_parked_together_and_each_gets_its_own_batch(fake: FakeBatches, tmp_path: Path) -> None:
    from harness.session.turns import Turns

    def life() -> dict[str, str]:
        """Two calls of one process, as the packs of a run are asked, by two models of one account."""
        journal, found = Journal(tmp_path), dict[str, str]()

        def one(names: list[str]) -> None:
            model = OpenAIModel(OpenAISettings(path="m-1", base_url=fake.url, key_env="", batch=True, backoff=0.01))
            model.ledger = journal.ledger
            rows = model.generate([Request(State(model.base), f"Which tree is {name}?") for name in names])
            found.update({name: row[0].text for name, row in zip(names, rows, strict=True)})

        try:
            Turns().side_by_side([NAMES[:2], NAMES[2:]], one)
        finally:
            journal.close()
        return found

    fake.answer = echo
    with pytest.raises(Parked, match="4 requests are at work in batch batch_0, batch_1"):
        life()
    assert len(fake.batches) == 2, "both were sent before the run parked"
    with pytest.raises(Parked):
        life()
    assert len(fake.batches) == 2, "and neither is sent again"
    fake.end = "completed"
    assert life() == {name: f"{name}?" for name in NAMES}
    assert len(fake.batches) == 2


def test_an_expired_batch_gives_what_it_has_and_the_rest_is_asked_again(fake: FakeBatches, tmp_path: Path) -> None:
    fake.end = "expired"
    fake.answer = lambda body: None if "oak" in str(body) else echo(body)
    found = ask(fake, tmp_path)
    assert [one.finish for [one] in found] == ["stop", "stop", "error", "stop"]
    assert found[2][0].reason == "batch_expired: not done in time"
    fake.end, fake.answer = "completed", echo
    assert [one.text for [one] in ask(fake, tmp_path)] == [f"{name}?" for name in NAMES]
    assert fake.files[fake.batches[1]["input_file_id"]].count("\n") == 1
    assert spent(tmp_path) == pytest.approx((0.2, 0.0))


def test_a_text_that_is_refused_has_failed_for_good(fake: FakeBatches, tmp_path: Path) -> None:
    fake.end = "completed"
    refusal = {"error": {"message": "maximum context length is 4", "code": "context_length_exceeded"}}
    fake.answer = lambda body: refusal if "fir" in str(body) else None if "oak" in str(body) else echo(body)
    for _ in range(2):
        found = ask(fake, tmp_path)
        assert [one.finish for [one] in found] == ["stop", "failed", "error", "stop"]
        assert found[1][0].reason.startswith("context length")
    assert [name for name in fake.sent() if fake.sent().count(name) > 1] == [fake.sent()[2]] * 2  # the unanswered one


def test_a_failed_batch_says_why(fake: FakeBatches, tmp_path: Path) -> None:
    fake.end = "failed"
    [[first], *_] = ask(fake, tmp_path)
    assert (first.finish, first.reason) == ("error", "the batch failed: too many tokens")
    assert spent(tmp_path) == (0.0, 0.0)


def test_several_samples_and_a_server_that_gives_fewer(fake: FakeBatches, tmp_path: Path) -> None:
    fake.end, fake.answer = "completed", lambda body: answered("one", "two")
    [row] = ask(fake, tmp_path, ["elm"], n=3)
    assert [(one.text, one.finish) for one in row] == [("one", "stop"), ("two", "stop"), ("", "error")]
    fake.answer = lambda body: answered("three")
    [row] = ask(fake, tmp_path, ["elm"], n=3)
    assert [one.text for one in row] == ["one", "two", "three"]


def test_a_batch_that_may_exceed_the_limit_is_not_sent(fake: FakeBatches, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"a batch may cost up to \$0\.\d\d, and max_cost of \$0\.01 leaves \$0\.01"):
        ask(fake, tmp_path, max_cost=0.01)
    assert fake.submissions == 0


def test_an_endpoint_without_batches(tmp_path: Path) -> None:
    from tests.models.fake_endpoint import failure
    from tests.models.fake_endpoint import serve as serve_calls

    with serve_calls(lambda index, body: failure(404)) as plain, pytest.raises(UsageError, match="has no batch mode"):
        ask(FakeBatches(plain.url), tmp_path)


def test_a_batch_that_is_refused_does_not_park(fake: FakeBatches, tmp_path: Path) -> None:
    fake.refuse = lambda count: 400
    with pytest.raises(UsageError, match="refuses the batch: HTTP 400"):
        ask(fake, tmp_path)
    assert spent(tmp_path) == (0.0, 0.0)


def test_a_judge_parks_the_run_and_its_verdicts_come_from_the_batch(fake: FakeBatches, tmp_path: Path) -> None:
    from harness.judges.base import Answer, Budget
    from harness.judges.remote import RemoteJudge

    def graded() -> list[float | None]:
        judge = RemoteJudge("m-1", Budget(batch=True), base_url=fake.url)
        journal = Journal(tmp_path)
        try:
            judge.ledger = journal.ledger
            return [
                one.value for one in judge.grade([Answer("Which tree?", ("elm",), text) for text in ("elm", "fir")])
            ]
        finally:
            journal.close()

    with pytest.raises(Parked, match="2 requests"):
        graded()
    fake.end = "completed"
    fake.answer = lambda body: answered("yes" if "Candidate answer: elm" in str(body["messages"]) else "no")
    assert graded() == [1.0, 0.0]
    assert len(fake.batches) == 1


def test_files_stay_within_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Request(State("openai:m-1"), "x")
    items = [Item(asked, f"digest{n}", 0, {"n": n}, 0.0) for n in range(7)]
    monkeypatch.setattr("harness.models.batch.MOST_REQUESTS", 3)
    assert [len(part) for part in _parts([*items, items[0]])] == [3, 3, 2]
    assert [len(part) for part in _parts([items[0], items[0]])] == [1]


def test_a_whole_run_parks_with_its_own_exit_code(fake: FakeBatches, tmp_path: Path) -> None:
    data = tmp_path / "pages.json"
    asked = [{"question": f"Question {n}?", "answer": "elm"} for n in range(3)]
    data.write_text(json.dumps([{"title": "Page", "context": "A page.", "questions": asked}]))
    given = {
        "method": "none",
        "model": {"use": "openai:m-1", "base_url": fake.url, "key_env": "", "batch": True, "input_price": 1.0,
                  "output_price": 1.0},
        "beside": [], "out": str(tmp_path / "runs"), "leaderboard": "",
        "evaluator": {"use": "closed-book", "judge": "contains"},
        "task": {"use": "squad", "data": str(data), "subset": "file-order"},
    }  # fmt: skip
    with pytest.raises(Parked) as parked:
        harness.run(given)
    assert parked.value.exit_code == 6
    [folder] = (tmp_path / "runs").iterdir()
    fake.end, fake.answer = "completed", lambda body: answered("An elm.")
    done = harness.resume(folder)
    assert done.complete
    assert done.result.tables[0].rows[0].scores[0] == (1.0, 1.0, 1.0)
    assert len(fake.batches) == 1
