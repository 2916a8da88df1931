"""A hook of mkdocs: the pages of the site are the repository's Markdown files, at the places that they have there.

Files that pages link to (examples, a board's HTML) come along. ``mkdocs.yml`` names this file.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/**/*.md", "plugins/*/README.md", "leaderboards/*.md", "benchmarks/*.md")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """The navigation: pages that are named here first, then whatever else there is, so that none is left out."""
    first = ["architecture", "methods", "tasks", "models", "runs", "view", "statistics", "plugins", "torch"]
    guide = [f"docs/{name}.md" for name in first]
    guide += [name for name in _names("docs/*.md") if name not in guide]
    reference = ["index", "configuration", "commands", "components", "records", "python"]
    config.nav = [
        {"Start": "README.md"},
        {"Guide": guide},
        {"Reference": [f"docs/reference/{name}.md" for name in reference]},
        {"Plugins": _names("plugins/*/README.md")},
        {"Results": [*_names("leaderboards/*.md"), *_names("benchmarks/*.md")]},
    ]
    return config


def _names(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def on_files(files: Files, config: Any) -> Files:
    """The repository's pages in place of the folder ``docs``; what the theme brings stays."""
    theirs = [file for file in files if not str(file.abs_src_path).startswith(f"{ROOT / 'docs'}")]
    pages = sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})
    linked = {target for page in pages for target in _linked_files(page)}
    own = [File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
           for path in [*pages, *sorted(linked - set(pages)), ROOT / "docs" / "site.css"]]  # fmt: skip
    return Files([*theirs, *own])


def _linked_files(page: Path) -> set[Path]:
    """The files of the repository that a page links to, other than pages."""
    folder = page.relative_to(ROOT).parent.as_posix()
    targets = _LINK.findall(page.read_text("utf-8"))
    paths = {ROOT / posixpath.normpath(posixpath.join(folder, target)) for target in targets}
    return {path for path in paths if path.is_file() and path.suffix != ".md"}
