"""The command line: one verb a file. Starts without importing torch."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence

import typer

from harness import __version__
from harness.api import HarnessError
from harness.errors import UsageError, nearest
from harness.escape import line

_VERBS = {
    "run": "run a method, and those beside it, into a table",
    "resume": "go on with a run where it stopped",
    "show": "draw a grid task in the terminal",
    "export": "write a run's policy to a folder that transformers or peft loads",
    "compare": "say whether two runs differ, and how surely",
    "gate": "hold a run against a baseline, for CI",
    "leaderboard": "show, build and check the leaderboards",
    "replay": "recompute published logs",
    "judge": "hold a judge against recorded verdicts",
    "plugins": "list, explain, write and check plugins",
    "adapter": "train the generator of the method generative-adapter",
    "lab": "the embedded model: train it, measure it",
}
"""Verb -> its line in ``harness --help``; the module of that name under ``harness.cli`` is imported when it is used."""

_ELSEWHERE = {"adapter": "harness_generative_adapter.cli", "lab": "harness_lab.cli", "replay": "harness_replay.cli"}


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
    """The command tree, with the module of one verb imported and the others as lines of the help."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done, 1 regressed (gate), 2 wrong use, 3 a plugin is at fault or nothing is comparable, "
        "4 the run is incomplete, 5 inconclusive (gate --strict), 130 interrupted.",
    )
    app.callback()(_root)
    for name, said in _VERBS.items():
        if name != verb:
            app.command(name, short_help=said)(lambda: None)
            continue
        module = importlib.import_module(_ELSEWHERE.get(name, f"harness.cli.{name}"))
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, short_help=said)
        else:
            app.command(name, short_help=said)(module.command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """The command ``harness``. Errors that a user can mend are one line, and the exit code says of which kind."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if not word.startswith("-")), "")
    verbose = any(word in {"-v", "--verbose"} for word in words[: words.index(verb) if verb else None])
    try:
        if verb and verb not in _VERBS:
            raise UsageError(f"no verb is called {verb!r}.{nearest(verb, _VERBS)}")
        code = build_app(verb)(args=words, standalone_mode=False)
    except HarnessError as error:
        if verbose:
            raise
        print(f"harness: {line(str(error))}", file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        # typer's own usage errors know how to show themselves; their class is not public.
        if not hasattr(error, "format_message"):
            raise
        error.show()  # type: ignore[attr-defined]
        code = 2
    if code == 130:  # typer turns Ctrl-C into this code without a word
        print("harness: interrupted; what is booked is safe, and `harness resume RUN` goes on", file=sys.stderr)
    sys.exit(code)
