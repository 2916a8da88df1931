"""``harness lm-eval``: lm-evaluation-harness's own command line, with the model ``harness`` added.

lm-eval 0.4.13 finds models in a table of its own and has no entry points, so a plain ``lm_eval`` does not know it.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.errors import UsageError
from harness_lm_eval.library import INSTALL


def command(
    arguments: Annotated[list[str] | None, typer.Argument(help="Arguments of lm_eval, after `--`.")] = None,
) -> None:
    """Run lm-evaluation-harness on the policy of a run.

    Example:  harness lm-eval -- run --model harness --model_args run=runs/20261120-101500-seal-lab-facts,method=seal --tasks ./my_task.yaml
    """  # noqa: E501
    try:
        from lm_eval.__main__ import cli_evaluate
        from lm_eval.api.registry import register_model
    except ImportError as error:
        raise UsageError(INSTALL) from error
    from harness_lm_eval.lm import HarnessLM

    register_model("harness")(HarnessLM)
    before = sys.argv
    sys.argv = ["lm_eval", *(arguments or ["--help"])]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
