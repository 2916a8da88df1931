"""A verb, and what is meant where nothing is named: ``harness greet --name reader``."""

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
