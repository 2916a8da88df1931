"""Variants: rows of a run that are one method under another name."""

from __future__ import annotations

from typing import Any

import pytest

from harness.api import HarnessError
from harness.errors import UsageError
from harness.registry.discover import Plugins
from harness.runs.config import Config, resolve


def resolved(**given: Any) -> Config:
    return resolve({"method": "seal", "beside": ["none"], **given}, Plugins())


def test_a_variant_is_the_method_as_it_stands_in_the_run_with_settings_of_its_own() -> None:
    config = resolved(
        editor={"temperature": 0.5},
        trainer={"rounds": 3},
        variants={"short": {"method": "seal", "trainer": {"rounds": 1}, "samples": 4}},
    )
    main, _, short = config.arms
    assert [arm.method.name for arm in config.arms] == ["seal", "none", "short"]
    assert short.slots["editor"] == main.slots["editor"]
    assert short.slots["editor"]["temperature"] == 0.5
    assert (main.slots["trainer"]["rounds"], short.slots["trainer"]["rounds"]) == (3, 1)
    assert {**short.slots["trainer"], "rounds": 3} == main.slots["trainer"]
    assert (main.samples, short.samples) == (1, 4)
    assert config.as_json()["arms"]["short"]["samples"] == 4


def test_a_variant_may_take_a_methods_own_name_another_component_and_other_roles() -> None:
    config = resolved(
        variants={
            "none": {"method": "seal-no-rl", "editor": {"use": "rewrite"}},
            "taught": {"method": "seal-no-rl", "roles": {"teacher": "some/model", "student": "model"}},
        }
    )
    names = [arm.method.name for arm in config.arms]
    assert names == ["seal", "none", "taught"]
    assert config.arms[1].slots["editor"]["use"] == "rewrite"
    assert config.arms[2].roles["teacher"]["path"] == "some/model"


def test_without_variants_the_configuration_is_recorded_as_ever() -> None:
    assert "variants" not in resolved().as_json()


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({}, "write method = "),
        ({"method": "sael"}, "Did you mean 'seal'"),
        ({"method": "seal", "editr": {}}, r"no such slot. Did you mean 'editor'"),
        ({"method": "seal", "samples": -1}, "samples"),
        ({"method": "seal", "roles": {"teecher": "model"}}, "Did you mean 'teacher'"),
        ({"method": "seal", "cpt": {"epochs": 1}}, "variants.v.cpt: this run has no such slot"),
    ],
)
def test_a_wrong_variant_is_refused(variant: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        resolved(variants={"v": variant})


@pytest.mark.parametrize("name", ["seal", "a/b", "..", "", "a b"])
def test_a_variant_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(UsageError, match="variants"):
        resolved(variants={name: {"method": "seal-no-rl"}})


def test_a_slot_that_a_preset_adds_can_be_set_by_its_keys() -> None:
    config = resolved(preset="paper-v2-cpt200", model="some/model", cpt={"pad_nodes": 2048})
    assert {arm.slots["cpt"]["pad_nodes"] for arm in config.arms} == {2048}


def test_data_without_a_task_are_of_the_presets_task() -> None:
    task = resolve(
        {"method": "seal-arc", "preset": "paper-llama3.2-1b", "model": "a/b", "task": {"data": "ARC"}}, Plugins()
    ).task
    assert (task["use"], task["data"], task["test"]) == ("arc", "ARC", "seal-eval")
    assert resolved(task={"data": "passages.json"}).task == {"use": "squad", "data": "passages.json"}


def test_all_runs_the_methods_whose_preset_has_the_same_task() -> None:
    def names(method: str) -> set[str]:
        given = {"method": method, "preset": "quick", "all": True}
        return {arm.method.name for arm in resolve(given, Plugins()).arms}

    assert names("seal-arc") == {"seal-arc", "arc-icl", "arc-ttt-no-rl", "arc-oracle-ttt"}
    assert not names("seal") & names("seal-arc")


def test_all_of_a_task_need_no_method() -> None:
    """The first method whose preset names the task leads, and its preset brings the model."""
    config = resolve({"preset": "quick", "all": True, "task": "lab-maths"}, Plugins())
    wanted = {"untrained", "lmsi", "lmsi-random", "lmsi-oracle", "ttrl", "ttrl-oracle", "evol-rl", "r-zero"}
    assert wanted <= {arm.method.name for arm in config.arms}
    assert config.model["use"] == "lab-maths"
    assert resolve({"preset": "quick", "all": True}, Plugins()).options.method == "seal"


def test_a_row_beside_the_main_one_keeps_its_presets_protocol() -> None:
    config = resolve({"preset": "quick", "all": True, "task": "lab-maths"}, Plugins())
    [alone] = [one for one in resolve({"method": "ace-online", "preset": "quick"}, Plugins()).arms
               if one.method.name == "ace-online"]  # fmt: skip
    [beside] = [one for one in config.arms if one.method.name == "ace-online"]
    assert config.options.method != "ace-online"
    assert beside.protocol == alone.protocol
    assert beside.protocol["dialect"] == "notes"
