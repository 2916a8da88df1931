"""The package's own tests run where it is installed: in the clean environment of ``tests/packaging``."""

collect_ignore = ["tests"]
