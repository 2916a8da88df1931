"""Model backends: ``hf`` (local, trainable) and ``openai`` (any endpoint that speaks that protocol)."""
