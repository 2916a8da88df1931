from harness_notes.editor import Notes
from harness_notes.reward import Coverage

from harness.testing import EditorContract, RewardContract, ScriptedLM, two_items


class TestNotes(EditorContract):
    component = Notes


class TestCoverage(RewardContract):
    component = Coverage


def test_bullets_are_taken_off(scripted_session):
    from harness.api import EditAsk

    s = scripted_session(
        ScriptedLM({"Notes:": " one thing\n- another\n-\n"}), editor=("editor", Notes(Notes.Settings()))
    )
    asks = [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)]
    [[edit]] = [group.edits for group in s.propose("teacher", asks)]
    assert edit.data[0].args == {"text": "one thing\nanother"}


def test_it_runs_from_end_to_end():
    assert two_items("notes").complete
