"""The methods as a run resolves them: every preset, and the settings that the published runs had."""

from __future__ import annotations

from harness_seal.methods import SEAL, SEAL_NO_RL

from harness.registry.discover import Plugins
from harness.runs import config as configuration
from harness.runs.config import Config

PAPER = {"paper-qwen2.5-7b-n1", "paper-v1-cpt200", "paper-v2-cpt200", "paper-v2-cpt2067"}


def test_the_cards() -> None:
    assert SEAL.beside == ("none", "passage", "passage-repeat", "seal-no-rl", "icl")
    assert "train" in SEAL.needs
    assert "train" not in SEAL_NO_RL.needs
    assert SEAL_NO_RL.components["trainer"] == {"use": "none"}
    assert {"lab", *PAPER} <= set(SEAL.presets)


def configured(preset: str) -> Config:
    return configuration.resolve({"method": "seal", "preset": preset, "model": "hf:some/model"}, Plugins())


def test_single_passage_rows_share_the_published_update() -> None:
    arms = {arm.method.name: arm for arm in configured("paper-qwen2.5-7b-n1").arms}
    assert arms["passage"].slots["updater"] == arms["seal"].slots["updater"] == arms["seal-no-rl"].slots["updater"]
    assert arms["seal"].slots["updater"]["use"] == "lora-reference"
    assert arms["passage-repeat"].slots["editor"]["like"]["max_tokens"] == 8192
    assert "policy" not in arms["passage"].slots
    assert arms["icl"].slots["updater"] == {"kind": "updater", "use": "memory"}


def test_continued_pretraining_leaves_the_open_book_row_as_it_is() -> None:
    arms = {arm.method.name: arm for arm in configured("paper-v2-cpt200").arms}
    assert arms["seal"].slots["cpt"]["use"] == "full"
    assert arms["seal"].slots["updater"]["use"] == "lora-reference"
    assert {name: arm.protocol["use"] for name, arm in arms.items()} == {
        "seal": "cpt",
        "seal-no-rl": "cpt",
        "passage": "cpt",
        "passage-repeat": "cpt",
        "none": "cpt",  # it has no update, and is ranked with the rows that have
        "icl": "single",
    }
