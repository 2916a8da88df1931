"""From names on the command line to a model, documents as token ids, and a generator's settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from harness.api import Example, Model, Recipe, Task
from harness.errors import UsageError
from harness.models.hf import HfModel
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.registry.settings import check_settings
from harness.runs.named import model_table
from harness_generative_adapter.generator import Generator, GeneratorConfig
from harness_generative_adapter.training import Document, TrainingSettings


class _NoWeights:
    """The weight store of a model that is only used without adapters."""

    def adapter(self, digest: str, /) -> Any:
        raise UsageError(f"there is no adapter {digest}")

    def folder(self, digest: str, /) -> Path:
        raise UsageError(f"there is no adapter {digest}")


def opened(spec: str) -> HfModel:
    """A local model by name, folder or hub id.

    Raises:
        UsageError: the model is not a local one.
    """
    plugins = Plugins()
    model = build(plugins, Model, model_table(plugins, spec), "model", weights=_NoWeights()).instance
    if not isinstance(model, HfModel):
        raise UsageError(f"--model {spec}: a generator needs a model in this process (lab, a folder, a hub id)")
    return model


def prepared(
    model: HfModel, task: str, seeds: str, tables: Mapping[str, Mapping[str, Any]]
) -> tuple[Callable[[nn.Module], Generator], TrainingSettings, list[Document]]:
    """A function that makes a module's generator, the training settings, and the training documents.

    Raises:
        UsageError: an unknown setting, or a task without a train split.
    """
    config = check_settings(GeneratorConfig, tables["generator"], "generator", "a generator")
    settings = check_settings(TrainingSettings, tables["training"], "training", "a training")
    config = replace(config, base=model.base)
    plugins = Plugins()
    documents: list[Document] = []
    for seed in _range(seeds):
        table = {"use": task, **tables["task"], **({} if seed is None else {"seed": seed})}
        documents += _documents(model, build(plugins, Task, table, "task").instance)
    if not documents:
        raise UsageError(f"task {task!r} has no training contexts that the model can read")
    return lambda module: Generator.fresh(module, config, settings.seed), settings, documents


def _documents(model: HfModel, task: Task) -> list[Document]:
    """The train split as token ids: contexts in the form in which passages are learnt, questions as they are asked."""
    chat, end = "chat" in model.can, model.prompts.end_token_id
    found = []
    for episode, references in task.load("train"):
        [example] = [e for e in task.expand(Recipe("repeat", {"times": 1}), episode, 0) if isinstance(e, Example)]
        questions = []
        for query in episode.queries:
            answers = references.get(query.id, ())
            if answers:
                prompt, answer = model.prompts.continuation_ids(task.prompt(query, {}, chat=chat), answers[0])
                questions.append((prompt, (*answer, *(() if end is None else (end,)))))
        document = Document(model.prompts.text_ids(example.target), tuple(questions))
        longest = max([len(document.text), *(len(p) + len(a) for p, a in questions)])
        if len(document.text) >= 4 and longest <= model.positions:
            found.append(document)
    return found


def _range(text: str) -> list[int | None]:
    if not text:
        return [None]
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found or int(found[1]) > int(found[2]):
        raise UsageError(f"--task-seeds {text!r}: write FIRST-LAST, such as 100-119")
    return list(range(int(found[1]), int(found[2]) + 1))
