"""Losses."""

Loss = object
