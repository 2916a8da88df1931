"""A result file is accepted only if its keys say what its rows may be compared with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.evidence.result_file import ResultError, dumps, parse
from tests.leaderboard.examples import result_file


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": {}}, "key: 'task' is missing"),
        ({"key": {"task": "facts", "version": "1", "items": "i", "metric": "m"}}, "key: 'base_model' is missing"),
        ({"card": {"open_book": True}}, "key.open_book is False, card.open_book is True"),
        ({"card": {"transductive": True}}, "key.transductive is False, card.transductive is True"),
        ({"protocol": "cpt"}, "key.protocol is 'single', protocol is 'cpt'"),
    ],
)
def test_a_key_that_lacks_or_contradicts_is_refused(change: dict[str, Any], said: str) -> None:
    raw = json.loads(dumps(result_file()))
    row = raw["tables"][0]["rows"][1]
    row["key"] |= {"open_book": False, "transductive": False, "protocol": "single"}
    assert parse(json.dumps(raw), "f.json").rows[1].key["protocol"] == "single"
    row |= change
    with pytest.raises(ResultError) as caught:
        parse(json.dumps(raw), "f.json")
    assert str(caught.value).startswith("f.json: table 'score': rows.1 (seal): ")
    assert said in str(caught.value)


def test_a_key_of_another_task_or_version_is_refused() -> None:
    for name in ("task", "version"):
        raw = json.loads(dumps(result_file()))
        raw["tables"][0]["rows"][0]["key"][name] = "other"
        with pytest.raises(ResultError, match=rf"key\.{name} is 'other', task\."):
            parse(json.dumps(raw), "f.json")
