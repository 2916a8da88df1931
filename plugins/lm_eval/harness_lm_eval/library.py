"""lm-evaluation-harness as a library: its tasks by name or file, without its effects on the process."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness import reads
from harness.api import JSON
from harness.errors import UsageError, nearest
from harness_lm_eval.requests import conversation

INSTALL = "lm-evaluation-harness is not installed: pip install 'selfadapt-harness[lm-eval]'"


@dataclass(frozen=True)
class Document:
    """One document of a task."""

    id: str
    """SHA-256 of its JSON, as lm-eval's own logs have it (``doc_hash``); a repeated document has ``/2`` after it."""
    doc: Any
    requests: Sequence[Any]
    """lm-eval's requests for it, in the order in which its scoring expects the answers."""


@dataclass(frozen=True)
class Loaded:
    """A task of lm-eval with the requests for its documents."""

    name: str
    task: Any
    documents: Sequence[Document]
    version: str
    """lm-eval's version of the task, and a digest of its configuration."""


def load(spec: JSON) -> Mapping[str, Loaded]:
    """The tasks that a specification (:attr:`harness_lm_eval.task.LmEvalTask.spec`) names, by their names in lm-eval.

    They are read once per process, and again where the file has changed.

    Raises:
        UsageError: lm-eval is not installed, or the tasks cannot be loaded.
    """
    path = Path(spec["path"])
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    numbers = int(spec["documents"]), int(spec["num_fewshot"]), int(spec["fewshot_seed"])
    return _load(spec["path"], content, *numbers, bool(spec["chat"]))


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Undo what lm-eval and its tasks do to the global random generators; keep their progress bars off the screen."""
    import numpy
    import torch

    log = logging.getLogger("lm_eval")
    states, level = (random.getstate(), numpy.random.get_state(), torch.random.get_rng_state()), log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        log.setLevel(level)
        random.setstate(states[0])
        numpy.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


@lru_cache(maxsize=32)
def _load(path: str, content: str, documents: int, num_fewshot: int, seed: int, chat: bool) -> Mapping[str, Loaded]:
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise UsageError(INSTALL) from error
    with reads.untracked(), contained():
        # The items are digested one by one, and the configuration is part of the task's version.
        try:
            found = _tasks(path)
            return {
                name: _with_requests(name, task, documents, num_fewshot, seed, chat) for name, task in found.items()
            }
        except UsageError:
            raise
        except Exception as error:  # tasks are programs, and data may be absent in many ways
            said = " ".join(str(error).split())[:300]
            raise UsageError(f"lm-eval task {path!r} cannot be loaded: {type(error).__name__}: {said}") from error


def _tasks(path: str) -> Mapping[str, Any]:
    from lm_eval.tasks import TaskManager

    if path.endswith((".yaml", ".yml", ".py")) and not Path(path).is_file():
        beside = [str(one) for one in Path(path).parent.glob(f"*{Path(path).suffix}")]
        raise UsageError(f"no lm-eval task file at {path}.{nearest(path, beside)}")
    if path.endswith(".py"):
        return _of_module(Path(path))
    if path.endswith((".yaml", ".yml")):
        found: Mapping[str, Any] = TaskManager(include_defaults=False).load([path])["tasks"]
        return found
    manager = TaskManager()
    if path not in manager.task_index:
        raise UsageError(f"lm-eval has no task {path!r}.{nearest(path, manager.all_tasks)}")
    named: Mapping[str, Any] = manager.load([path])["tasks"]
    return named


def _of_module(path: Path) -> Mapping[str, Any]:
    """The tasks of a Python file: its classes derived from lm-eval's ``Task``, and dictionaries with a key ``task``."""
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager

    spec = importlib.util.spec_from_file_location(f"_lm_eval_task_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: list[Any] = []
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Task) and value.__module__ == module.__name__:
            made.append(value())
        elif isinstance(value, dict) and isinstance(value.get("task"), str):
            made.append(value)
    if not made:
        raise UsageError(
            f"{path}: has no class derived from lm_eval.api.task.Task, and no dictionary with a key 'task'"
        )
    found: Mapping[str, Any] = TaskManager(include_defaults=False).load(made)["tasks"]
    return found


def _with_requests(name: str, task: Any, documents: int, num_fewshot: int, seed: int, chat: bool) -> Loaded:
    """Build the requests as lm-eval's ``simple_evaluate`` does, without its seeding of the process."""
    if getattr(task, "UNSAFE_CODE", False):
        raise UsageError(f"lm-eval task {name!r} runs code that models wrote, which this evaluator does not do")
    if getattr(task, "MULTIMODAL", False):
        raise UsageError(f"lm-eval task {name!r} shows images or sounds; models here read text only")
    own = task.get_config("num_fewshot")
    if own is None or (num_fewshot >= 0 and own != 0):
        task.set_config(key="num_fewshot", value=max(num_fewshot, 0))
    task.set_fewshot_seed(seed=seed)
    as_turns = (
        {"apply_chat_template": True, "fewshot_as_multiturn": True, "chat_template": conversation} if chat else {}
    )
    task.build_all_requests(limit=documents or None, **as_turns)
    by_document: dict[int, list[Any]] = {}
    for request in task.instances:
        by_document.setdefault(request.doc_id, []).append(request)
    found, seen = [], dict[str, int]()
    for requests in by_document.values():
        requests.sort(key=lambda one: one.idx)
        digest = hashlib.sha256(as_json(requests[0].doc).encode()).hexdigest()
        seen[digest] = seen.get(digest, 0) + 1
        again = f"/{seen[digest]}" if seen[digest] > 1 else ""
        found.append(Document(digest + again, requests[0].doc, requests))
    config = hashlib.sha256(as_json(task.dump_config()).encode()).hexdigest()[:12]
    return Loaded(name, task, found, f"{task.VERSION}-{config}")


def as_json(value: Any) -> str:
    """The JSON text that lm-eval digests for ``doc_hash``."""
    from lm_eval.utils import handle_non_serializable

    return json.dumps(value, indent=2, default=handle_non_serializable, ensure_ascii=False)
