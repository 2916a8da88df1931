"""The core's own outer loop: none."""
