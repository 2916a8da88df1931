"""The two protocols of ACE and their controls; presets from data files named ``PRESET.METHOD.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import Method
from harness.registry.presets import presets_of

_SLOTS: Mapping[str, Any] = {
    "playbook": {"kind": "updater", "use": "memory"},
    "evaluator": {"use": "sampled", "samples": 1},
}
_ROLES = {"teacher": "model", "student": "@teacher", "reflector": "model", "curator": "@reflector"}

ACE = Method(
    name="ace",
    paper="arXiv 2510.04618, section 3",
    summary="a playbook in the prompt grows by small changes, from answers that it is told were right or wrong",
    components={
        **_SLOTS,
        "graded": {"kind": "evaluator", "use": "sampled", "samples": 1},
        "trainer": {"use": "ace"},
    },
    roles=_ROLES,
    sees="context+queries",
    needs=frozenset({"generate"}),
    beside=("untrained", "ace-hidden", "ace-rewrite"),
    presets=presets_of("harness_ace", "offline"),
)
HIDDEN = replace(
    ACE,
    name="ace-hidden",
    paper="",
    summary="control: the same, but nobody says which answers were right; no labels are used",
    components={**ACE.components, "trainer": {"use": "ace", "feedback": "hidden"}},
    beside=("untrained", "ace"),
)
REWRITE = replace(
    ACE,
    name="ace-rewrite",
    paper="",
    summary="control: the whole list is written anew with every insight, without bullets or counters",
    components={**ACE.components, "trainer": {"use": "ace", "merge": "rewrite"}},
    beside=("untrained", "ace"),
)
ONLINE = Method(
    name="ace-online",
    paper="arXiv 2510.04618, section 3",
    summary="every window of test questions is asked, and then its right and wrong answers change the playbook",
    components={**_SLOTS, "trainer": {"use": "none"}},
    roles=_ROLES,
    sees="context+queries",
    transductive=True,
    needs=frozenset({"generate"}),
    protocol={"use": "ace-online"},
    beside=("untrained", "ace-online-hidden"),
    presets=presets_of("harness_ace", "online"),
)
ONLINE_HIDDEN = replace(
    ONLINE,
    name="ace-online-hidden",
    paper="",
    summary="control: the same windows, but nobody says which answers were right; no labels are used",
    protocol={"use": "ace-online", "feedback": "hidden"},
    beside=("untrained", "ace-online"),
)
