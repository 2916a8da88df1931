"""The lab model's configuration and its copy-friendly initialisation.

With an ordinary random initialisation a model of this size needs several million tokens before it copies from its
context at all. The initialisation below sets the circuit by hand (previous-token heads, then heads that match the
current token with the predecessors of earlier ones: Olsson et al., "In-context Learning and Induction Heads", arXiv
2209.11895) and leaves everything else to training.
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

HIDDEN, LAYERS, HEADS, FEED_FORWARD, POSITIONS = 128, 4, 4, 384, 512


def configuration(vocabulary: int, eos: int, pad: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=HIDDEN,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )


def initialise(model: LlamaForCausalLM, seed: int) -> None:
    """Set the weights of `model` in place: small random ones plus the copying circuit.

    Layer 0 attends to the previous token (a fixed query and key, one RoPE step apart) and writes it rotated by `shift`;
    layer 1 compares the current token with those and copies the token that it finds; later layers start as weak
    similarity heads. Feed-forward outputs start at zero.
    """
    g = torch.Generator().manual_seed(seed)
    heads, size, half = HEADS, HIDDEN // HEADS, HIDDEN // HEADS // 2

    def orthogonal() -> torch.Tensor:
        basis: torch.Tensor = torch.linalg.qr(torch.randn(HIDDEN, HIDDEN, generator=g))[0]
        return basis

    def normal(weight: torch.Tensor, std: float) -> None:
        weight.copy_(torch.randn(weight.shape, generator=g) * std)

    embedding_std, in_std, ff_std = 0.02, HIDDEN**-0.5, FEED_FORWARD**-0.5
    angles = 10000.0 ** -(torch.arange(half) / half)
    constant = 0  # the embedding's first dimension is the same for every token: the source of fixed queries and keys
    # The highest frequencies encode position, the others content.
    content = torch.ones(size)
    content[:5] = content[half : half + 5] = 0
    with torch.no_grad():
        normal(model.model.embed_tokens.weight, embedding_std)
        model.model.embed_tokens.weight[:, constant] = 3 * embedding_std
        shift = orthogonal()
        for depth, layer in enumerate(model.model.layers):
            attention, mlp = layer.self_attn, layer.mlp
            q, k, v, o = (getattr(attention, f"{name}_proj").weight for name in "qkvo")
            for weight in (q, k, v):
                normal(weight, in_std)
            normal(mlp.gate_proj.weight, in_std)
            normal(mlp.up_proj.weight, in_std)
            normal(mlp.down_proj.weight, ff_std)
            mlp.down_proj.weight.zero_()
            if depth == 0:
                strength = torch.tensor([1.6, 1.3, 1.0, 0.8] + [0.4] * (half - 4)) * 1.3
                query = torch.cat([strength, torch.zeros(half)])
                key = torch.cat([strength * angles.cos(), strength * angles.sin()])
                for weight, row in ((q, query), (k, key)):
                    weight.mul_(0.3)
                    for head in range(heads - 1):
                        weight[head * size : (head + 1) * size, constant] += row
                values = orthogonal()
                v.mul_(0.2).add_(values)
                o.copy_(shift @ values.T * embedding_std)
                continue
            strength_qk = 1.1 if depth == 1 else 0.6
            for head in range(heads):
                rows = slice(head * size, (head + 1) * size)
                match = strength_qk * content[:, None] * orthogonal()[:size]
                q[rows] = q[rows] * 0.3 + match
                k[rows] = k[rows] * 0.3 + (match @ shift.T if depth == 1 or head % 2 == 0 else match)
            values = orthogonal()
            v.mul_(0.3).add_(values * 0.8)
            o.copy_(values.T * (0.06 if depth == 1 else 0.01))
