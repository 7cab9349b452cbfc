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
