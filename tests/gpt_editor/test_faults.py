"""A real endpoint on this machine that misbehaves: nothing is lost, nothing counts as wrong because of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from harness_gpt_editor.editor import Structured, StructuredSettings

from harness.api import EditAsk, Group, Request, SelfEdit, TrialJob, UpdateJob
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session
from harness.testing.server import Fault, Faults, Server, serve
from tests.session.parts import Exact, Fit

PAGES = [f"page {n}" for n in range(6)]
TASK = ScriptedTask(
    {"train": {page: (f"{page} says {n}.", {f"what says {n}?": [page]}) for n, page in enumerate(PAGES)}}
)


def writer(request: Request, index: int) -> str:
    page = next(page for page in PAGES if page in str(request.prompt))
    return f"{page} holds a number.\nIt is sample {index} of {page}."


def teacher(server: Server, **settings: object) -> OpenAIModel:
    usual = {
        "path": "local",
        "base_url": server.url,
        "key_env": "",
        "api": "completions",
        "schema": "none",
        "backoff": 0.01,
    }
    return OpenAIModel(OpenAISettings(**{**usual, **settings}))  # type: ignore[arg-type]


def session(folder: Path, model: OpenAIModel) -> SessionService:
    editor = Structured(StructuredSettings(max_tokens=400))
    slots = {"editor": ("editor", editor), "updater": ("updater", Fit()), "evaluator": ("evaluator", Exact())}
    return open_session(folder, TASK, {"teacher": model, "student": ScriptedLM({})}, slots)


def proposed(s: SessionService, n: int = 2) -> Sequence[Group]:
    return s.propose("teacher", [EditAsk(e, s.roles["teacher"], n, s.seed(e.id)) for e in s.episodes("train")])


def texts(groups: Sequence[Group]) -> list[list[str]]:
    return [[edit.actions[0].text for edit in group.edits] for group in groups]


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[list[str]]:
    with serve(ScriptedLM(writer)) as server:
        return texts(proposed(session(tmp_path / "undisturbed", teacher(server))))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(429, {"Retry-After": "0.05"}),
        Fault(429),
        Fault(500),
        Fault(503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        Fault(delay=0.6),
        Fault(truncate=True),
        Fault(no_choices=True),
    ],
    ids=["429-wait", "429", "500", "503-date", "timeout", "truncated", "no-choices"],
)
def test_every_second_call_goes_wrong_and_nothing_is_lost(
    tmp_path: Path, undisturbed: list[list[str]], fault: Fault
) -> None:
    with serve(ScriptedLM(writer), lambda call: fault if call % 2 == 0 else None) as server:
        groups = proposed(session(tmp_path, teacher(server, timeout=0.3, retries=20)))
        assert len(server.calls) > len(PAGES)
    assert texts(groups) == undisturbed
    assert {edit.status for group in groups for edit in group.edits} == {"ok"}


def broken_for(page: str, server: list[Server]) -> Faults:
    """The calls about one page always fail."""

    def fault(call: int) -> Fault | None:
        return Fault(500) if page in server[0].calls[call]["body"] else None

    return fault


def test_what_the_endpoint_never_gives_is_an_error_and_is_asked_again_on_resume(
    tmp_path: Path, undisturbed: list[list[str]]
) -> None:
    running: list[Server] = []
    with serve(ScriptedLM(writer), broken_for("page 3", running)) as server:
        running.append(server)
        s = session(tmp_path, teacher(server, retries=1))
        groups = proposed(s)
        lost = [edit for group in groups for edit in group.edits if edit.status == "error"]
        assert {edit.episode for edit in lost} == {"page 3"}
        assert all("HTTP 500" in edit.reason for edit in lost)
        updated = s.update("updater", [job(s, edit) for group in groups for edit in group.edits])
        assert {one.status for one in updated} == {"ok", "error"}
        s.journal.close()
    with serve(ScriptedLM(writer)) as server:
        again = session(tmp_path, teacher(server, base_url=server.url))
        assert texts(proposed(again)) == undisturbed


def job(s: SessionService, edit: SelfEdit) -> UpdateJob:
    return UpdateJob(edit.id, s.roles["student"], (edit,), s.seed(edit.id))


def test_a_text_that_the_model_cannot_take_is_the_methods_failure_and_not_ours(tmp_path: Path) -> None:
    class Short(ScriptedLM):
        def generate(self, asks: Sequence[Request], /):  # type: ignore[no-untyped-def]
            from dataclasses import replace

            rows = super().generate(asks)
            return [
                [replace(one, text="", finish="failed", reason="context length 900 > 512") for one in row]
                for row in rows
            ]

    with serve(Short(writer)) as server:
        groups = proposed(session(tmp_path, teacher(server, retries=0)))
    assert {edit.status for group in groups for edit in group.edits} == {"failed"}
    assert "context length" in groups[0].edits[0].reason


def test_a_lost_edit_scores_nothing_rather_than_wrong(tmp_path: Path) -> None:
    with serve(ScriptedLM(writer), lambda call: Fault(500)) as server:
        s = session(tmp_path, teacher(server, retries=0))
        groups = proposed(s, n=1)
        trials = [TrialJob(job(s, group.edits[0]), (group.ask.episode,)) for group in groups]
        scores = [score for row in s.trial(trials) for score in row]
    assert {(score.value, score.status) for score in scores} == {(None, "error")}


def test_only_what_shapes_an_answer_is_part_of_its_key(tmp_path: Path) -> None:
    def asked(**settings: object) -> None:
        s = session(tmp_path, teacher(server, **settings))
        s.lm("teacher").generate([Request(s.roles["teacher"], "about page 1", n=2, temperature=1.0, seed=3)])
        s.journal.close()

    with serve(ScriptedLM(writer)) as server:
        asked(concurrency=1)
        asked(concurrency=7, retries=1, timeout=9.0)
        assert len(server.calls) == 1
        asked(body={"top_k": 5})
        asked(path="another")
        assert len(server.calls) == 3
