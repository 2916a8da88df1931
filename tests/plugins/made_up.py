"""Distributions that exist only as metadata: a ``.dist-info`` folder and one module on a temporary path."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

GOOD = """
    from harness import hookimpl
    from harness.api import Editor

    @hookimpl
    def harness_editors():
        return {"good-editor": "good_plugin:Good"}

    class Good(Editor):
        def propose(self, asks, s):
            return [[] for _ in asks]
"""

BROKEN = {
    "import-error": """
        import a_package_that_is_not_there
    """,
    "syntax-error": """
        def harness_editors(:
    """,
    "exits": """
        raise SystemExit(7)
    """,
    "misspelled": """
        from harness import hookimpl

        @hookimpl
        def harness_editor():
            return {}
    """,
    "unmarked": """
        def harness_editors():
            return {}
    """,
    "signature": """
        from harness import hookimpl

        @hookimpl
        def harness_run_finished(event, config):
            pass
    """,
    "future": """
        HARNESS_API = 99
    """,
    "raising-provider": """
        from harness import hookimpl

        @hookimpl
        def harness_editors():
            raise ValueError("no editors today")
    """,
    "no-mapping": """
        from harness import hookimpl

        @hookimpl
        def harness_editors():
            return ["mine"]
    """,
}
"""Name -> source of a plugin module that is broken in that way."""

SAID = {
    "import-error": "No module named 'a_package_that_is_not_there' ({file}:2)",
    "syntax-error": "SyntaxError: {any} ({file}:2)",
    "exits": "SystemExit: 7 ({file}:2)",
    "misspelled": "there is no hook 'harness_editor' ({file}:4). Did you mean 'harness_editors'",
    "unmarked": "harness_editors is not marked with @harness.hookimpl, so nothing would call it ({file}:2)",
    "signature": "hook harness_run_finished is called with the argument 'event', but takes 'config' ({file}:4)",
    "future": "is written for API 99 ({file}), and this harness has API 2; upgrade",
    "raising-provider": "hook harness_editors raised ValueError: no editors today ({file}:6)",
    "no-mapping": "hook harness_editors must return a mapping, not list",
}
"""What is said of each; ``{file}`` is its module's file and ``{any}`` anything."""


def install(
    path: Path, plugin: str, source: str, *, distribution: str = "", group: str = "harness.plugins", target: str = ""
) -> Path:
    """Write a module and the metadata of a distribution that registers it as a plugin; returns the module's file."""
    path.mkdir(parents=True, exist_ok=True)
    module = target or plugin.replace("-", "_") + "_plugin"
    file = path / f"{module}.py"
    file.write_text(dedent(source), "utf-8")
    name = distribution or f"dist-of-{plugin}"
    info = path / f"{name.replace('-', '_')}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.5\nLicense: MIT\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{plugin} = {module}\n", "utf-8")
    return file
