"""Evaluators of the core: how answers are asked for and scored."""
