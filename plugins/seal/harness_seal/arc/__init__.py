"""SEAL on few-shot ARC: the model chooses how it is trained at test time (arXiv 2506.10943, section 3.2)."""
