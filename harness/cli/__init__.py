"""The command line: one verb per file. Starts without importing torch."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from harness import __version__
from harness.api import HarnessError
from harness.errors import UsageError, nearest
from harness.escape import line

_VERBS = {
    "run": "run a method and its controls, and print a table",
    "resume": "continue a run where it stopped",
    "status": "say how far a run is, while it runs or after it broke off",
    "view": "write one page that shows what a run did",
    "show": "draw a grid task in the terminal",
    "verify": "check everything that a run has stored",
    "rescore": "grade a run's stored answers again with another judge",
    "export": "write a run's policy to a folder that transformers or peft loads",
    "compare": "say whether two runs differ beyond noise",
    "gate": "compare a run with a baseline, for CI",
    "leaderboard": "show, build and check the leaderboards",
    "judge": "compare a judge with recorded verdicts, correct or train it",
    "serve": "start a server that answers for runs, and prove that it answers right",
    "list": "list what is installed: methods, tasks, settings, ...",
    "plugins": "explain, write and check plugins",
}
"""Verb of the core -> its line in ``harness --help``. A verb's module under ``harness.cli`` is imported on use."""
_MODULES = {"list": "listing"}
"""Verb -> its module, where that has another name: a module ``list`` would hide the built-in one in this package."""
COMPLETION = "_HARNESS_COMPLETE"
"""The environment variable by which a shell asks for completions; typer's scripts set it."""


def _version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Say more, and show tracebacks."),
) -> None:
    """A benchmark harness for self-adapting language models.

    Example:  harness run --plugin seal
    """
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("harness").setLevel(logging.DEBUG if verbose else logging.INFO)


def build_app(verb: str) -> typer.Typer:
    """The command tree with one verb imported; without a verb, the help lines of all.

    Raises:
        UsageError: neither the core nor a plugin has such a verb.
        PluginError: the verb's plugin cannot be imported.
    """
    app = typer.Typer(
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done, 1 regressed (gate), 2 usage error, 3 a plugin is at fault or nothing is "
        "comparable, 4 the run is incomplete, 5 inconclusive (gate --strict), 6 parked until a "
        "remote batch is done, 130 interrupted.",
    )
    app.callback()(_root)
    for name, summary in _summaries(verb).items():
        if name != verb:
            app.command(name, short_help=summary)(lambda: None)
            continue
        command = _command(name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, short_help=summary)
        else:
            app.command(name, short_help=summary)(command)
    return app


def _summaries(verb: str) -> dict[str, str]:
    """Verb -> its line of help. Plugins are asked only if the verb may be one of theirs, or all are listed."""
    if verb in _VERBS:
        return _VERBS
    from harness.registry.discover import Plugins

    lines = _VERBS | {n: c.help for n, (_, c) in Plugins().commands().items() if n not in _VERBS}
    if verb and verb not in lines:
        raise UsageError(f"no verb is called {verb!r}.{nearest(verb, lines)}")
    return lines


def _command(verb: str) -> Any:
    if verb in _VERBS:
        module = importlib.import_module(f"harness.cli.{_MODULES.get(verb, verb)}")
        return module.app if hasattr(module, "app") else module.command
    from harness.registry.discover import Plugins
    from harness.registry.plugin import import_target

    plugin, command = Plugins().commands()[verb]
    return import_target(plugin, "verb", verb, command.target)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command ``harness``: in this process if ``arguments`` are given, else in a child that this one watches."""
    if COMPLETION in os.environ:
        sys.exit(_complete())
    if arguments is not None:
        sys.exit(_run(list(arguments)))
    from harness.cli.supervise import supervised

    sys.exit(supervised(lambda: _run(sys.argv[1:])))


def _complete() -> int:
    """Answer a shell that asks how the line may go on; an error is no answer, for the user is still typing."""
    from harness.cli.complete import typed

    words = typed()
    verb = next((word for word in words if not word.startswith("-")), "")
    try:
        build_app(verb)(args=words, standalone_mode=False, prog_name="harness")
    except HarnessError:
        return 1
    return 0


def _run(words: list[str]) -> int:
    """Run a command. An error that a user can fix is one line, and the exit code gives its kind."""
    verb = next((word for word in words if not word.startswith("-")), "")
    verbose = any(word in {"-v", "--verbose"} for word in words[: words.index(verb) if verb else None])
    try:
        code = build_app(verb)(args=words, standalone_mode=False, prog_name="harness")
    except HarnessError as error:
        if verbose:
            raise
        print(f"harness: {line(str(error))}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:  # a file that the user named: missing, not allowed, a folder, no space
        if verbose or error.filename is None:
            raise
        print(f"harness: {line(f'{error.filename}: {error.strerror}')}", file=sys.stderr)
        code = UsageError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        # typer's own usage errors know how to show themselves; their class is not public.
        if not hasattr(error, "format_message"):
            raise
        error.show()  # type: ignore[attr-defined]
        code = 2
    if code == 130:  # typer turns Ctrl-C into this code without a word
        print("harness: interrupted", file=sys.stderr)
    return int(code or 0)
