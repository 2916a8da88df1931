"""Benchmarks of the core, one package each."""
