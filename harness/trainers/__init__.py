"""The core's own trainer, ``none``, for methods without an outer loop."""
