"""Prompt-controlled mixture of experts (CLASP, arXiv 2601.13133, section III-B)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .cpu import runs_plainly_on_cpu
from .linear import init_linear, linear
from .tasks import task_rows

_PART_BYTES = 32 * 2 ** 20  # of the experts' weights of the images that go together

_NO_RIVAL = -1e4  # a logit that any other beats, with gradients of 0 and not of infinity


class Gates(NamedTuple):
    """Gate statistics of one PC-MoE, for the balance loss and for analysis; stacked, of several.

    Attributes:
        gates: (..., n) float32, the weights of the experts: sum to 1, at most K are not zero.
        logits: (..., n) float32, what the top-k selection saw: with noise in training.
        clean: (..., n) float32, the logits without noise.
        noise_std: (..., n) float32, the standard deviation of each logit's noise; 0 without.

    Example:
        >>> moe = PCMoE(8, num_experts=4, top_k=2)
        >>> _, gates = moe(torch.zeros(1, 6, 8), torch.tensor([[0., 1., 0.]]))
        >>> int(gates.gates.count_nonzero()), gates.probs.shape
        (2, torch.Size([1, 4]))
    """

    gates: Tensor
    logits: Tensor
    clean: Tensor
    noise_std: Tensor

    @property
    def probs(self) -> Tensor:
        """(..., n) softmax over all experts of the logits."""
        return self.logits.softmax(-1)

    @property
    def load(self) -> Tensor:
        """(..., n) probability that a new draw of an expert's own noise puts it among the K.

        The other experts' noise stays as drawn (Shazeer et al., arXiv 1701.06538, eq. 8 and 9).
        An expert of the K stays where it beats the first of the others, these enter where they
        beat the last of the K; without noise it is 1 for the K.
        """
        kept = self.gates > 0
        first = self.logits.masked_fill(kept, _NO_RIVAL).amax(-1, keepdim=True)
        last = self.logits.masked_fill(~kept, -_NO_RIVAL).amin(-1, keepdim=True)
        margin = self.clean - torch.where(kept, first, last)
        return torch.special.ndtr(margin / self.noise_std.clamp(min=1e-6))


class PCMoE(nn.Module):
    """Prompt-controlled mixture of experts on a map of tokens.

    With the prompt p of the task of an image and its tokens F (L, C)::

        F'  = F + p
        z   = mean over tokens of F'
        c   = sigmoid(W_c z)                                 (n, C)
        g   = softmax(keep_top_k(z W_g + noise))             (n,)
        out = F + sum_j g_j * (c_j o E_j(F')) + FC(p),       E_j: C -> h -> C with GELU

    with noise = N(0, 1) * softplus(z W_noise), in training only. The last layers of the experts
    and of FC start at zero, so a new module is the identity. The gates are computed in float32,
    in autocast too. On large maps only the K experts of an image are computed, on small ones all,
    whichever is faster, in two batched products; the gates, and so the output of an image, depend
    on that image and its prompt alone.

    The switches are the ablations of the paper's Tables II and III; each removes one part.

    Args:
        dim: Channels C.
        num_experts: Experts n.
        top_k: Experts K that one image may use.
        num_prompts: Prompts M: 3 (one per task), 2 or 6, see :func:`.task_weights`.
        expert_hidden: Hidden channels h of an expert.
        gate_reduction: The channel gate W_c has rank C / gate_reduction.
        self_embedding: Let the gates see the tokens; without, z = p.
        prompt_embedding: Add the prompt to tokens and gate input; without, F' = F and z is the
            mean of F.
        channel_gate: Use c; without, c = 1.
        global_gate: Use g; without, every expert has weight 1 / n.
        task_gates: Let every prompt own W_g and W_noise, mixed by the prompt weights, instead of
            all tasks sharing one.
        prompt_residual: Add FC(p).

    Raises:
        ValueError: If a size is below 1, K > n, M is not 2, 3 or 6, or the gates would see
            nothing.

    Example:
        >>> tokens = torch.rand(2, 6, 8)
        >>> out, gates = PCMoE(8, num_experts=4, top_k=2)(tokens, torch.tensor([[0., 1., 0.]]))
        >>> torch.equal(out, tokens), gates.gates.shape  # a new module is the identity
        (True, torch.Size([2, 4]))
    """

    def __init__(self,
                 dim: int,
                 num_experts: int = 10,
                 top_k: int = 6,
                 num_prompts: int = 3,
                 expert_hidden: int = 32,
                 gate_reduction: int = 16,
                 self_embedding: bool = True,
                 prompt_embedding: bool = True,
                 channel_gate: bool = True,
                 global_gate: bool = True,
                 task_gates: bool = False,
                 prompt_residual: bool = True) -> None:
        super().__init__()
        for name, value in (('expert_hidden', expert_hidden), ('gate_reduction', gate_reduction)):
            if value < 1:
                raise ValueError(f'{name}={value} must be at least 1')
        if not 1 <= top_k <= num_experts:
            raise ValueError(f'top_k={top_k} must lie between 1 and num_experts={num_experts}')
        task_rows(num_prompts)  # raises where the tasks cannot own so many
        if not (self_embedding or prompt_embedding):
            raise ValueError(
                'self_embedding=False and prompt_embedding=False leave the gates without input; '
                'switch one of them on')
        self.dim = dim
        self.num_experts = num_experts
        self.top_k = top_k
        self.num_prompts = num_prompts
        self.self_embedding = self_embedding
        self.prompt_embedding = prompt_embedding
        self.task_gates = task_gates

        # Biases are flat, so that rules which spare vectors from weight decay spare them.
        self.w1 = nn.Parameter(torch.empty(num_experts, expert_hidden, dim))
        self.b1 = nn.Parameter(torch.zeros(num_experts * expert_hidden))
        self.w2 = nn.Parameter(torch.empty(num_experts, expert_hidden, dim))
        self.b2 = nn.Parameter(torch.empty(num_experts * dim))
        nn.init.trunc_normal_(self.w1, std=.02)
        self.prompts = None
        if prompt_embedding or prompt_residual:
            self.prompts = nn.Parameter(torch.empty(num_prompts, dim))
            nn.init.trunc_normal_(self.prompts, std=.02)
        self.channel_gate = self.global_gate = self.noise_gate = self.prompt_fc = None
        if channel_gate:
            rank = max(dim // gate_reduction, 1)
            self.channel_gate = nn.Sequential(
                nn.Linear(dim, rank, bias=False), nn.Linear(rank, num_experts * dim))
        if global_gate:
            logits = num_experts * (num_prompts if task_gates else 1)
            self.global_gate = nn.Linear(dim, logits, bias=False)
            self.noise_gate = nn.Linear(dim, logits, bias=False)
            self.register_buffer('one_hot', torch.eye(num_experts), persistent=False)
        if prompt_residual:
            self.prompt_fc = nn.Linear(dim, dim)
        self.apply(init_linear)
        self.zero_output()

    @property
    def sees_prompt(self) -> bool:
        """Whether anything here depends on the prompt; else all tasks see the same map."""
        return self.prompts is not None or (self.task_gates and self.global_gate is not None)

    @torch.no_grad()
    def zero_output(self) -> None:
        """Zero the last layers, so that the module is the identity."""
        self.w2.zero_()
        self.b2.zero_()
        if self.prompt_fc is not None:
            self.prompt_fc.weight.zero_()
            self.prompt_fc.bias.zero_()

    def forward(self, x: Tensor, prompt_weights: Tensor) -> tuple[Tensor, Gates]:
        """Modulate the tokens of each image by its prompt.

        Args:
            x: (B, L, C) tokens.
            prompt_weights: (B, M) or (1, M), the prompt of an image is ``prompt_weights @
                prompts``.

        Returns:
            (B, L, C) tokens and the gates of the images.
        """
        prompt = None
        device_type = 'cpu' if x.device.type == 'meta' else x.device.type  # meta has no autocast
        with torch.autocast(device_type, enabled=False):
            prompt_weights = prompt_weights.float()
            if self.prompts is not None:
                prompt = prompt_weights @ self.prompts.float()
            z = x.mean(dim=1, dtype=torch.float32) if self.self_embedding else 0.
            if self.prompt_embedding:
                z = z + prompt
            z = z.expand(x.shape[0], -1)
            gates, kept, low = self._gates(z, prompt_weights)
            scale = gates.gates[..., None]
            if self.channel_gate is not None:
                logits = _linear32(self.channel_gate[1], low)
                scale = scale * logits.view(-1, self.num_experts, self.dim).sigmoid()
            # What is added to every token of an image: the experts' last biases and FC(p).
            shift = (scale * self.b2.float().view(-1, self.dim)).sum(1)
            if self.prompt_fc is not None:
                shift = shift + _linear32(self.prompt_fc, prompt)
        prompt = prompt if self.prompt_embedding else None
        if kept is not None and x.shape[1] >= self.top_k * self.w1.shape[1]:
            mixture = self._checkpointed(self._chosen_experts, x, prompt, scale, shift, kept)
        else:
            mixture = self._all_experts_in_parts(x, prompt, scale, shift)
        return x + mixture, gates

    def _gates(self, z: Tensor, prompt_weights: Tensor
               ) -> tuple[Gates, Tensor | None, Tensor | None]:
        """Noisy top-k gating (Shazeer et al., arXiv 1701.06538) of (B, C) embeddings.

        The gates; the experts that are not zero, (B, K), or None where all are in use; and what the
        first layer of the channel gate makes of z, (B, rank).
        """
        layers = {} if self.channel_gate is None else {'channel': self.channel_gate[0]}
        if self.global_gate is not None:
            layers['global'] = self.global_gate
            if self.training:
                layers['noise'] = self.noise_gate
        products = {}
        if layers:
            weight = torch.cat([layer.weight.float() for layer in layers.values()])
            rows = [layer.weight.shape[0] for layer in layers.values()]
            products = dict(zip(layers, F.linear(z, weight).split(rows, 1), strict=True))
        low = products.get('channel')
        if self.global_gate is None:
            same = z.new_zeros(z.shape[0], self.num_experts)
            return Gates(same + 1 / self.num_experts, same, same, same), None, low
        logits = clean = self._own_logits(products['global'], prompt_weights)
        if self.training:
            noise_std = F.softplus(self._own_logits(products['noise'], prompt_weights))
            logits = clean + torch.randn_like(clean) * noise_std
        else:
            noise_std = torch.zeros_like(clean)
        values, kept = logits.topk(self.top_k, dim=1)
        gates = torch.zeros_like(logits).scatter(1, kept, values.softmax(1))
        kept = kept if self.top_k < self.num_experts else None
        return Gates(gates, logits, clean, noise_std), kept, low

    def _own_logits(self, logits: Tensor, prompt_weights: Tensor) -> Tensor:
        """Those of an image's prompts, where each has its own."""
        if self.task_gates:
            logits = logits.view(logits.shape[0], -1, self.num_experts)
            logits = (logits * prompt_weights[..., None]).sum(1)
        return logits

    def _chosen_experts(self, x: Tensor, prompt: Tensor | None, scale: Tensor, shift: Tensor,
                        kept: Tensor) -> Tensor:
        """As :meth:`_all_experts`, from the weights of each image's own K experts.

        Taking them touches K * h rows an image, which pays where it has at least as many tokens.
        For gradients they are taken by products with 0s and 1s, whose gradients are products too:
        sums over images in one order, where those of an index would collide.
        """
        batch, chosen = kept.shape                                              # (B, K)
        rows = None                                                             # (B * K, n)
        if torch.is_grad_enabled() and not torch.jit.is_tracing():
            rows = self.one_hot.index_select(0, kept.flatten())
        w1, w2 = ((w.index_select(0, kept.flatten()) if rows is None else rows @ w.flatten(1))
                  .view(batch, -1, self.dim) for w in (self.w1, self.w2))       # (B, K * h, C)
        b1 = self._first_bias(prompt).view(-1, self.num_experts, self.w1.shape[1])
        b1 = _of_each(b1.expand(batch, -1, -1), kept, rows)
        scale = _of_each(scale, kept, rows)
        w2 = (w2.view(batch, chosen, -1, self.dim) * scale[:, :, None].to(w2.dtype)).flatten(1, 2)
        hidden = F.gelu(torch.baddbmm(b1.view(batch, 1, -1), x, w1.mT))
        return torch.baddbmm(shift[:, None].to(hidden.dtype), hidden, w2)

    def _first_bias(self, prompt: Tensor | None) -> Tensor:
        """Bias of the first layers with what the prompt adds, (n * h,) or (B or 1, n * h)."""
        if prompt is None:
            return self.b1
        return F.linear(prompt.to(self.w1.dtype), self.w1.flatten(0, 1), self.b1)

    def _all_experts_in_parts(self, x: Tensor, prompt: Tensor | None, scale: Tensor, shift: Tensor
                              ) -> Tensor:
        """As :meth:`_all_experts`, whose weights of an image are n * h / L times as large as x.

        On a CPU many images (the regions of a detector) go in parts: half the time, as its caches
        hold the weights of a part, and a fraction of the memory.
        """
        size = max(_PART_BYTES // (self.w2.numel() * x.element_size()), 1)
        if not runs_plainly_on_cpu(x) or x.shape[0] <= size:
            return self._all_experts(x, prompt, scale, shift)
        parts = [slice(start, start + size) for start in range(0, x.shape[0], size)]
        return torch.cat([self._checkpointed(
            self._all_experts, x[part],
            prompt if prompt is None or len(prompt) == 1 else prompt[part], scale[part],
            shift[part]) for part in parts])

    def _checkpointed(self, function: Callable[..., Tensor], x: Tensor, *args: Tensor | None
                    ) -> Tensor:
        """On a CPU, call a function whose intermediate results the backward pass makes again.

        The hidden layer is twice or more as wide as x. A GPU keeps it: in a step of Swin-T with 96
        images in bfloat16 that is 0.9 GB, and making it again 33 operators and their time.
        """
        if self.training and torch.is_grad_enabled() and runs_plainly_on_cpu(x):
            return checkpoint(function, x, *args, use_reentrant=False, preserve_rng_state=False)
        return function(x, *args)

    def _all_experts(self, x: Tensor, prompt: Tensor | None, scale: Tensor, shift: Tensor
                     ) -> Tensor:
        """Sum over experts of ``scale * W2 GELU(W1 (x + p) + b1)``, and ``shift``, (B, L, C).

        x is (B, L, C); p (B, C), (1, C) or None; ``scale``, gate times channel gate, (B, n, C) or
        (B, n, 1); ``shift`` (B, C).
        """
        w1, b1 = self.w1.flatten(0, 1), self._first_bias(prompt)
        if b1.dim() == 1 or b1.shape[0] == 1:
            hidden = linear(x, w1, b1.flatten(), gelu=True)
        else:
            hidden = linear(x, w1)
            hidden = F.gelu(hidden + b1.to(hidden.dtype)[:, None])
        w2 = self.w2.to(hidden.dtype)
        scale, shift = scale.to(hidden.dtype), shift.to(hidden.dtype)[:, None]
        batch, length, _ = x.shape
        per_expert = w2.shape[1]
        if length >= per_expert:
            # Scaling the weights of each image touches h rows per expert, ...
            weights = (scale[:, :, None] * w2).flatten(1, 2)
            return torch.baddbmm(shift, hidden, weights)
        # ... scaling the outputs touches L.
        hidden = hidden.view(batch * length, self.num_experts, per_expert).transpose(0, 1)
        outputs = torch.bmm(hidden, w2).view(self.num_experts, batch, length, self.dim)
        return (outputs * scale.transpose(0, 1)[:, :, None]).sum(0) + shift


def _of_each(table: Tensor, kept: Tensor, rows: Tensor | None) -> Tensor:
    """Rows (B, K, D) of the experts ``kept`` (B, K) from (B, n, D); by a product if ``rows``."""
    if rows is None:
        return table.gather(1, kept[..., None].expand(-1, -1, table.shape[2]))
    return torch.bmm(rows.unflatten(0, kept.shape), table.to(rows.dtype))


def _linear32(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer with a bias in float32 whatever the dtype of its weights."""
    return F.linear(x, layer.weight.float(), layer.bias.float())
