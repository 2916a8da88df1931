"""The updaters that do not train."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import Delta, Example, MemoryOps, Recipe, SelfEdit, State, Updated, UpdateJob
from harness.updaters.memory import Memory
from harness.updaters.none import NoUpdate

START = State("hf:base", ("a",), {"passage": "old", "notes": ["x"]})


def updated(*ops: Any, start: State = START) -> Updated:
    edits = tuple(SelfEdit(f"e{i}", "episode", (MemoryOps((op,)),)) for i, op in enumerate(ops))
    [found] = Memory().apply([UpdateJob("job", start, edits, 0)], cast(Any, None))
    return found


def test_operations_apply_in_order() -> None:
    found = updated({"set": {"passage": "new", "more": 1}}, {"delete": ["notes"]}, {"set": {"more": 2}})
    assert found.state == State("hf:base", ("a",), {"passage": "new", "more": 2})
    assert found.log["operations"] == 3
    assert updated().state == START
    assert START.memory == {"passage": "old", "notes": ["x"]}, "the start is a value"


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ({"delete": ["passages"]}, "memory has no 'passages' to delete"),
        ({"delete": [["notes"]]}, "memory has no"),
        ({"delete": "notes"}, "a memory operation is"),
        ({"set": ["notes"]}, "a memory operation is"),
        ({"set": {1: "x"}}, "memory cannot hold this"),
        ({"set": {"x": float("nan")}}, "memory cannot hold this"),
        ({"set": {"x": object()}}, "memory cannot hold this"),
        ({"replace": {}}, "a memory operation is"),
        ({"set": {}, "delete": []}, "a memory operation is"),
        ({}, "a memory operation is"),
        ("set", "a memory operation is"),
    ],
)
def test_malformed_operations_fail_their_job_alone(op: Any, reason: str) -> None:
    good = SelfEdit("g", "episode", (MemoryOps(({"set": {"k": "v"}},)),))
    bad = SelfEdit("b", "episode", (MemoryOps(({"set": {"k": "v"}}, op)),))
    jobs = [UpdateJob("bad", START, (bad,), 0), UpdateJob("good", START, (good,), 0)]
    first, second = Memory().apply(jobs, cast(Any, None))
    assert (first.status, first.state) == ("failed", None)
    assert reason in first.reason
    assert second.state is not None
    assert second.state.memory == {**START.memory, "k": "v"}


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from("abc"), st.integers()).map(lambda values: {"set": values}),
            st.lists(st.sampled_from("abc"), max_size=2).map(lambda keys: {"delete": keys}),
        )
    )
)
def test_memory_is_what_a_dictionary_would_be(ops: list[dict[str, Any]]) -> None:
    expected: dict[str, Any] | None = {}
    for op in copy.deepcopy(ops):
        for key in op.get("delete", ()):
            if expected is None or key not in expected:
                expected = None
                break
            del expected[key]
        if expected is None:
            break
        expected.update(op.get("set", {}))
    state = updated(*ops, start=State("b")).state
    assert (None if state is None else state.memory) == expected


def test_none_changes_nothing_and_refuses_nothing() -> None:
    data = (Example("", "x"), Recipe("r"), MemoryOps(({"bad": 1},)), Delta("d"))
    jobs = [UpdateJob(f"j{i}", START, (SelfEdit("e", "episode", data, {"rank": -1}),), i) for i in range(3)]
    found = list(NoUpdate().apply(jobs, cast(Any, None)))
    assert [one.job for one in found] == ["j0", "j1", "j2"]
    assert all(one.state is START for one in found)
    assert {type(item) for item in data} <= NoUpdate.accepts
