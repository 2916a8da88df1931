"""What was measured, read again: result files, published logs, comparisons, gates and leaderboards."""
