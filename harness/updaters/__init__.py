"""Updaters: ``lora`` (default), ``lora-reference``, ``full``, ``memory``, ``none``."""
