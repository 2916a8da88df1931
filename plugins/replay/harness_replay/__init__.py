"""Published results, replayed: SEAL's logs (arXiv 2506.10943) as runs, and their recorded self-edits as an editor."""
