"""One run: its configuration, its rows, its protocols, and what is collected into a result file."""
