"""What a run stores: its journal and its weights, the items of its task, and the encoding and digests of records."""
