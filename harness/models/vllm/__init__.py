"""A model whose texts a vLLM server generates and scores, and which is trained in this process."""
