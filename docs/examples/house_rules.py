"""A command-line verb, ``harness greet --name reader``, and the default method."""

from harness import hookimpl
from harness.api import Command


@hookimpl
def harness_commands():
    return {"greet": Command("house_rules:greet", "say hello")}


@hookimpl
def harness_defaults():
    return {"method": "seal-no-rl"}


def greet(name: str = "you"):
    """Say hello."""
    print(f"hello {name}")
