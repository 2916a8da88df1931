"""A fingerprint changes with what can change a result, and with nothing else."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import PluginError
from harness.evaluators.closed_book import ClosedBook
from harness.models.openai import OpenAIModel
from harness.registry import fingerprint
from harness.updaters.lora import Lora

PACKAGE = {
    "mine/__init__.py": "from mine.hooks import table\n",
    "mine/hooks.py": "def table():\n    return {'mine': 'mine.editor:Editor'}\n",
    "mine/editor.py": (
        '"""An editor."""\n'
        "from __future__ import annotations\n"
        "import importlib\n"
        "from typing import TYPE_CHECKING\n"
        "from mine.near import near\n"
        "from mine_parts import far\n"
        "if TYPE_CHECKING:\n"
        "    from mine.types import Thing\n\n\n"
        "class Editor:\n"
        '    """It writes."""\n\n'
        "    def propose(self, asks: Thing, s):\n"
        "        from mine.lazy import late\n\n"
        "        return importlib.import_module('mine.named'), late\n"
    ),
    "mine/near.py": "def near():\n    return 1\n",
    "mine/types.py": "class Thing: ...\n",
    "mine/lazy.py": "late = 1\n",
    "mine/named.py": "name = 1\n",
    "mine/unused.py": "nothing = 1\n",
    "mine/data/items.jsonl": '{"a": 1}\n',
    "mine/README.md": "Read me.\n",
    "mine_parts/__init__.py": "",
    "mine_parts/far.py": "far = 1\n",
}


class Folder:
    """Sources that a test may edit, with the fingerprint of a class in them as a new process would see it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def edit(self, name: str, before: str, after: str) -> None:
        text = (self.root / name).read_text("utf-8")
        assert before in text
        (self.root / name).write_text(text.replace(before, after), "utf-8")

    def digest(self, target: str, also: tuple[str, ...] = ()) -> str:
        self.forget()
        module, _, name = target.partition(":")
        return fingerprint.of_class(getattr(importlib.import_module(module), name), also).digest

    def forget(self) -> None:
        """As a new process begins: nothing of the folder is imported."""
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.root)):
                del sys.modules[name]
        importlib.invalidate_caches()
        fingerprint.forget()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Folder(tmp_path)
    yield made
    made.forget()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("mine/editor.py", "class Editor", "# a remark\nclass Editor"),
        ("mine/editor.py", "It writes.", "It writes edits."),
        ("mine/editor.py", "'mine.named'", '(\n            "mine.named"\n        )'),
        ("mine/types.py", "...", "size = 3"),
        ("mine/editor.py", "    from mine.types import Thing\n", "    from mine.types import Thing, Other\n"),
        ("mine/near.py", "def near():\n", 'def near():\n    """Say one."""\n'),
        ("mine/unused.py", "1", "2"),
        ("mine/hooks.py", "{'mine'", "{'yours': 'mine.unused:X', 'mine'"),
        ("mine/README.md", "Read", "Do read"),
    ],
    ids=["comment", "docstring", "layout", "types", "type import", "docstring elsewhere", "unused", "hooks", "readme"],
)
def test_what_cannot_change_a_result_does_not_count(folder: Folder, name: str, before: str, after: str) -> None:
    folder.write(PACKAGE)
    first = folder.digest("mine.editor:Editor")
    folder.edit(name, before, after)
    assert folder.digest("mine.editor:Editor") == first


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("mine/editor.py", ", late", ", late + 1"),
        ("mine/near.py", "return 1", "return 2"),
        ("mine/lazy.py", "1", "2"),
        ("mine/named.py", "1", "2"),
        ("mine_parts/far.py", "1", "2"),
        ("mine/data/items.jsonl", "1", "2"),
        ("mine/__init__.py", "import table", "import table\nimport sys\nsys.setrecursionlimit(3000)"),
        ("mine/hooks.py", "def table", "print('imported')\n\n\ndef table"),
    ],
    ids=["code", "import", "import in a function", "import_module", "another package", "data", "package acts", "acts"],
)
def test_what_can_change_a_result_counts(folder: Folder, name: str, before: str, after: str) -> None:
    folder.write(PACKAGE)
    first = folder.digest("mine.editor:Editor")
    folder.edit(name, before, after)
    assert folder.digest("mine.editor:Editor") != first


@pytest.mark.parametrize(
    "source",
    [
        'from pydantic import BaseModel\n\n\nclass Editor(BaseModel):\n    """Written into its schema."""\n',
        'class Editor:\n    """Put into a prompt."""\n\n    def propose(self, asks, s):\n        return self.__doc__\n',
        "from nowhere_helper import tool\n\n\n@tool\ndef f():\n    '''Written into'''\n\n\nclass Editor:\n    pass\n",
    ],
    ids=["schema", "__doc__", "decorated"],
)
def test_a_docstring_that_code_may_read_counts(folder: Folder, source: str) -> None:
    folder.write({"single.py": source, "nowhere_helper.py": "def tool(f):\n    return f\n"})
    first = folder.digest("single:Editor")
    word = "Written into" if "Written into" in source else "Put into"
    folder.edit("single.py", word, f"{word} or not")
    assert folder.digest("single:Editor") != first


def test_data_of_any_size_and_kind_count(folder: Folder) -> None:
    folder.write({**PACKAGE, "mine/big.bin": "0" * 1_500_000})
    first = folder.digest("mine.editor:Editor")
    folder.edit("mine/big.bin", "0" * 1_500_000, "0" * 1_499_999 + "1")
    assert folder.digest("mine.editor:Editor") != first


def test_a_file_beside_a_single_file_plugin_counts(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write({
        "plug/single.py": "class Editor:\n    def propose(self, asks, s):\n        import beside_it\n",
        "plug/beside_it.py": "value = 1\n",
    })  # fmt: skip

    def digest() -> str:
        folder.forget()
        spec = importlib.util.spec_from_file_location("single", folder.root / "plug" / "single.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["single"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return fingerprint.of_class(module.Editor).digest

    first = digest()
    folder.edit("plug/beside_it.py", "1", "2")
    assert digest() != first


def test_a_module_that_a_setting_names_counts(folder: Folder) -> None:
    folder.write({"single.py": "class Editor:\n    pass\n", "space.py": "size = 1\n"})
    first, without = folder.digest("single:Editor", ("space",)), folder.digest("single:Editor")
    folder.edit("space.py", "1", "2")
    assert folder.digest("single:Editor", ("space",)) != first
    assert folder.digest("single:Editor") == without


def test_a_base_class_of_another_package_counts(folder: Folder) -> None:
    folder.write({"base_of.py": "from its_helper import x\n\n\nclass Base:\n    pass\n", "its_helper.py": "x = 1\n"})
    folder.write({"mine.py": "from base_of import Base\n\n\nclass Mine(Base):\n    pass\n"})
    first = folder.digest("mine:Mine")
    folder.edit("its_helper.py", "1", "2")
    assert folder.digest("mine:Mine") != first


def test_code_that_was_edited_after_its_import_is_refused(folder: Folder) -> None:
    folder.write(PACKAGE)
    folder.digest("mine.editor:Editor")
    editor = importlib.import_module("mine.editor").Editor
    folder.edit("mine/near.py", "return 1", "return 2")
    fingerprint.forget()
    with pytest.raises(PluginError, match=r"near\.py was edited after this process had imported it"):
        fingerprint.of_class(editor)


def test_nothing_is_imported_to_follow_it(folder: Folder) -> None:
    folder.write({**PACKAGE, "mine/lazy.py": "raise SystemExit('imported')\n"})
    assert folder.digest("mine.editor:Editor")
    assert "mine.lazy" not in sys.modules


@pytest.mark.parametrize(
    ("cls", "never"),
    [(OpenAIModel, "engine"), (OpenAIModel, "evidence"), (ClosedBook, "evidence"), (ClosedBook, "engine"),
     (Lora, "engine"), (Lora, "registry.discover")],
    ids=str,
)  # fmt: skip
def test_a_component_does_not_depend_on_what_it_never_uses(cls: type, never: str) -> None:
    fingerprint.forget()
    followed = reached(cls)
    assert cls.__module__ in followed
    assert not [name for name in followed if name.startswith(f"harness.{never}")]


def reached(cls: type) -> set[str]:
    """Every module that counts, the harness's included: those whose file is looked up."""
    asked: set[str] = set()
    read: Callable[..., object] = fingerprint.source.read

    def spy(path: Path, module: str, *, package: bool) -> object:
        asked.add(module)
        return read(path, module, package=package)

    patch = pytest.MonkeyPatch()
    patch.setattr(fingerprint.source, "read", spy)
    try:
        fingerprint.of_class(cls)
    finally:
        patch.undo()
    return asked
