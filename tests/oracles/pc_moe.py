"""PC-MoE written as its formulas are, one image, one expert and one token at a time."""

import torch
from torch import Tensor


def pc_moe(params: dict[str, Tensor], x: Tensor, prompt_weights: Tensor, top_k: int,
           noise: Tensor | None = None, self_embedding: bool = True,
           prompt_embedding: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gate probabilities and gates of a PC-MoE.

    Args:
        params: State of the module; a missing gate or FC means that the part is switched off.
        x: (B, L, C).
        prompt_weights: (B, M).
        top_k: K.
        noise: Standard normal draws (B, n), or None outside training.
        self_embedding: Whether the gates see the tokens.
        prompt_embedding: Whether the prompt is added.
    """
    num_experts, hidden, dim = params['w1'].shape
    outs, probs, gates = [], [], []
    for i, tokens in enumerate(x):
        prompt = torch.zeros(dim)
        if 'prompts' in params:
            for weight, vector in zip(prompt_weights[i], params['prompts'], strict=True):
                prompt = prompt + weight * vector
        added = prompt if prompt_embedding else torch.zeros(dim)
        augmented = [token + added for token in tokens]
        z = sum(augmented) / len(augmented) if self_embedding else added

        image_gates = torch.full((num_experts,), 1 / num_experts)
        image_probs = image_gates
        if 'global_gate.weight' in params:
            logits = [_task_row(params['global_gate.weight'], j, prompt_weights[i], num_experts) @ z
                      for j in range(num_experts)]
            if noise is not None:
                for j in range(num_experts):
                    row = _task_row(params['noise_gate.weight'], j, prompt_weights[i], num_experts)
                    logits[j] = logits[j] + noise[i, j] * torch.log(1 + torch.exp(row @ z))
            total = sum(torch.exp(logit) for logit in logits)
            image_probs = torch.stack([torch.exp(logit) / total for logit in logits])
            kept = sorted(range(num_experts), key=lambda j: -logits[j].item())[:top_k]
            total = sum(torch.exp(logits[j]) for j in kept)
            image_gates = torch.stack([torch.exp(logits[j]) / total if j in kept
                                       else torch.zeros(()) for j in range(num_experts)])

        rows = []
        for token, token_in in zip(tokens, augmented, strict=True):
            mixture = torch.zeros(dim)
            for j in range(num_experts):
                if image_gates[j] == 0:
                    continue
                inner = params['w1'][j] @ token_in + params['b1'][j * hidden:(j + 1) * hidden]
                inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
                expert = inner @ params['w2'][j] + params['b2'][j * dim:(j + 1) * dim]
                channel = torch.ones(dim)
                if 'channel_gate.0.weight' in params:
                    low = params['channel_gate.0.weight'] @ z
                    rank = slice(j * dim, (j + 1) * dim)
                    channel = 1 / (1 + torch.exp(-(params['channel_gate.1.weight'][rank] @ low
                                                   + params['channel_gate.1.bias'][rank])))
                mixture = mixture + image_gates[j] * channel * expert
            row = token + mixture
            if 'prompt_fc.weight' in params:
                row = row + params['prompt_fc.weight'] @ prompt + params['prompt_fc.bias']
            rows.append(row)
        outs.append(torch.stack(rows))
        probs.append(image_probs)
        gates.append(image_gates)
    return torch.stack(outs), torch.stack(probs), torch.stack(gates)


def smooth_load(clean: Tensor, noise_std: Tensor, noise: Tensor, top_k: int) -> Tensor:
    """Shazeer et al. eq. 8 and 9: chance of each expert to be among the K, its noise drawn anew.

    Args:
        clean: Logits without noise (B, n).
        noise_std: (B, n).
        noise: Standard normal draws (B, n).
        top_k: K, less than n.
    """
    load = torch.zeros_like(clean)
    for i in range(len(clean)):
        noisy = [clean[i, j] + noise[i, j] * noise_std[i, j] for j in range(clean.shape[1])]
        for j in range(clean.shape[1]):
            others = sorted((value for at, value in enumerate(noisy) if at != j), reverse=True)
            margin = (clean[i, j] - others[top_k - 1]) / noise_std[i, j]
            load[i, j] = (1 + torch.erf(margin / 2**0.5)) / 2
    return load


def _task_row(weight: Tensor, expert: int, prompt_weights: Tensor, num_experts: int) -> Tensor:
    """Gate vector of an expert; with one gate per prompt, their weighted sum."""
    if len(weight) == num_experts:
        return weight[expert]
    return sum(w * weight[m * num_experts + expert] for m, w in enumerate(prompt_weights))
