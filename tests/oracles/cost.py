"""Multiply-adds, product by product."""


def pcmoe_macs(tokens, dim, num_experts, top_k, expert_hidden, num_prompts=3):
    """Of one image: what the module multiplies, with all experts or with the chosen ones."""
    rank = max(dim // 16, 1)
    chosen = tokens >= top_k * expert_hidden and top_k < num_experts
    experts = top_k if chosen else num_experts
    total = num_prompts * dim                                  # prompt of the image
    total += dim * num_experts                                 # global gate
    total += dim * rank + rank * num_experts * dim             # channel gate
    total += dim * dim                                         # FC of the prompt
    total += dim * num_experts * expert_hidden                 # prompt through all first layers
    for _ in range(experts):
        total += 2 * tokens * dim * expert_hidden
    return total


def swin_macs(height, width, channels, depths, window=7):
    """Of a Swin whose maps are whole windows: patches of 4 x 4 pixels, MLPs of 4 times C."""
    tokens = height // 4 * (width // 4)
    total = tokens * 3 * 4 * 4 * channels
    for stage, depth in enumerate(depths):
        if stage:
            tokens, channels = tokens // 4, 2 * channels
            total += tokens * 2 * channels * channels           # 4 maps of C / 2 to C
        for _ in range(depth):
            total += tokens * channels * 3 * channels           # queries, keys, values
            total += 2 * tokens * window * window * channels    # q k^T, and that times v
            total += tokens * channels * channels               # projection
            total += 2 * tokens * channels * 4 * channels       # MLP
    return total
