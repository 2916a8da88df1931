"""Judges: who says whether a free-text answer means the same as the gold answer."""
