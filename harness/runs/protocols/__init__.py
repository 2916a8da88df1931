"""The core's own protocols: how a policy's edits become updates, and what is asked of the states."""
