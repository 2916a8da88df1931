"""A method: learn the passage as it is, without an outer loop, and be asked about it."""

from harness import hookimpl
from harness.api import Method

METHOD = Method(
    name="bare-passage",
    paper="",
    summary="one update on the passage alone",
    components={
        "editor": {"use": "passage"},
        "updater": {"use": "lora"},
        "evaluator": {"use": "closed-book"},
        "trainer": {"use": "none"},
    },
    needs=frozenset({"generate", "train"}),
    beside=("none",),
)


@hookimpl
def harness_methods():
    return {"bare-passage": METHOD}
