"""Published tables with an outside editor, and of re-runs, that `harness reproduce` runs again."""
