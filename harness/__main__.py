"""``python -m harness``: the command line, where the command itself is not on the path."""

from harness.cli import main

main()
