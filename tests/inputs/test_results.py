"""A result file is accepted only if its conditions say what its rows may be compared with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.evidence.result_file import ResultError, dumps, parse
from tests.leaderboard.examples import result_file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"conditions": {}}, "conditions: 'task' is missing"),
        (
            {"conditions": {"task": "facts", "version": "1", "items": "i", "metric": "m"}},
            "conditions: 'base_model' is missing",
        ),
        ({"card": {"open_book": True}}, "conditions.open_book is False, card.open_book is True"),
        ({"card": {"transductive": True}}, "conditions.transductive is False, card.transductive is True"),
        ({"protocol": "cpt"}, "conditions.protocol is 'single', protocol is 'cpt'"),
    ],
)
def test_conditions_that_lack_or_contradict_something_are_refused(change: dict[str, Any], said: str) -> None:
    raw = json.loads(dumps(result_file()))
    row = raw["tables"][0]["rows"][1]
    row["conditions"] |= {"open_book": False, "transductive": False, "protocol": "single"}
    assert parse(json.dumps(raw), "f.json").rows[1].conditions["protocol"] == "single"
    row |= change
    with pytest.raises(ResultError) as caught:
        parse(json.dumps(raw), "f.json")
    assert str(caught.value).startswith("f.json: table 'score': rows.1 (seal): ")
    assert said in str(caught.value)


def test_conditions_of_another_task_or_version_are_refused() -> None:
    for name in ("task", "version"):
        raw = json.loads(dumps(result_file()))
        raw["tables"][0]["rows"][0]["conditions"][name] = "other"
        with pytest.raises(ResultError, match=rf"conditions\.{name} is 'other', task\."):
            parse(json.dumps(raw), "f.json")
