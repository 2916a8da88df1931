"""The fixtures that pytest finds wherever the harness is installed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from harness.api import Ask, EditAsk, Example, SelfEdit, UpdateJob
from harness.testing import ScriptedLM
from harness.updaters.lora import Lora, LoraSettings


def test_a_scripted_session_is_a_real_one(scripted_session: Any) -> None:
    lm = ScriptedLM({"Write: ": "a line"})
    s = scripted_session(lm)
    asks = [EditAsk(episode, s.roles["teacher"], 2, 0) for episode in s.episodes("train")]
    groups = s.reward(s.propose("teacher", asks))
    assert [len(group.rewards) for group in groups] == [2, 2, 2, 2]
    assert s.journal.ran > 0


def test_a_session_on_the_embedded_model_learns(lab_session: Any) -> None:
    s = lab_session(updater=("updater", Lora(LoraSettings(rank=4, epochs=2))))
    episode = s.episodes("train", 1)[0]
    edit = SelfEdit("e", episode.id, (Example("", str(episode.context["text"])),))
    [done] = s.update("updater", [UpdateJob("j", s.roles["student"], (edit,), 0)])
    assert done.state is not None
    [before], [after] = s.evaluate([Ask(s.roles["student"], episode)]), s.evaluate([Ask(done.state, episode)])
    assert [score.query for score in before] == [score.query for score in after]


def test_pytest_finds_them_without_importing_the_harness() -> None:
    code = (
        "import sys, harness.testing.pytest_plugin\n"
        "print(*[m for m in ('torch', 'numpy', 'pydantic', 'harness.session', 'harness.registry') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
