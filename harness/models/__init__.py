"""Model backends: ``hf`` (local, trainable) and ``openai`` (any endpoint that speaks OpenAI's protocol)."""
