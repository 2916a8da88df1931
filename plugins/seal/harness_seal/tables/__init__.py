"""Published tables of SEAL that `harness reproduce` runs again."""
