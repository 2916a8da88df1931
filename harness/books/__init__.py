"""What a run keeps: its journal, its weights, its items, and how records become bytes and digests."""
