"""Image regions to be named: exact parts, and rough clusters of tokens as a labeler finds them."""

import torch
import torch.nn.functional as F
from torch import Tensor

TOKEN_GRIDS = ((16, 8), (32, 16))
CLUSTER_NUMBERS = (3, 4, 5)
_LLOYD_STEPS = 3


def part_shares(masks: Tensor, parts: Tensor, num_parts: int) -> Tensor:
    """Share of each part among the person pixels of each region.

    Args:
        masks: (R, H, W) bool.
        parts: (R, H, W) part labels, 0 is background.
        num_parts: P.

    Returns:
        (R, P) float; rows sum to one, or to zero where the region holds no person.
    """
    labels = torch.where(masks, parts.long(), 0).flatten(1)
    counts = torch.zeros(len(labels), num_parts + 1).scatter_add_(
        1, labels, torch.ones_like(labels, dtype=torch.float32))[:, 1:]
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


def draw_exact_regions(parts: Tensor, num_parts: int, generator: torch.Generator) -> Tensor:
    """For each image the exact mask of one of its parts, each part as likely as another.

    Args:
        parts: (R, H, W) part labels. An image without a person gets an empty mask.
        num_parts: P.
        generator: Generator of the choice.

    Returns:
        (R, H, W) bool.
    """
    whole = torch.ones_like(parts, dtype=torch.bool)
    present = (part_shares(whole, parts, num_parts) > 0).float()
    present[present.sum(1) == 0] = 1
    chosen = torch.multinomial(present, 1, generator=generator) + 1
    return parts == chosen[:, :, None]


def draw_token_clusters(images: Tensor, parts: Tensor, num_parts: int,
                        generator: torch.Generator) -> Tensor:
    """For each image one cluster of foreground tokens, as from k-means on a teacher's features.

    The stand-in for features mixes, with random weights, what part a token shows, its colour, its
    place and noise; the foreground errs at the outline. So clusters are blocky, hold several
    parts, and cut parts in two, as real ones do.

    Args:
        images: (R, 3, H, W) float in [0, 1].
        parts: (R, H, W) part labels.
        num_parts: P.
        generator: Generator of all that is drawn.

    Returns:
        (R, H, W) bool.
    """
    number, height, width = parts.shape
    rows, columns = TOKEN_GRIDS[_randint(len(TOKEN_GRIDS), generator)]
    clusters = CLUSTER_NUMBERS[_randint(len(CLUSTER_NUMBERS), generator)]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    one_hot = F.one_hot(parts.long(), num_parts + 1).permute(0, 3, 1, 2).float()
    shares = F.adaptive_avg_pool2d(one_hot, (rows, columns))
    colour = F.adaptive_avg_pool2d(images, (rows, columns))
    place = torch.stack(torch.meshgrid(
        torch.linspace(0, 2, rows), torch.linspace(0, 1, columns), indexing='ij'))
    features = torch.cat([
        shares * uniform(number, 1, 1, 1), colour * 2 * uniform(number, 1, 1, 1),
        place * 2 * uniform(number, 2, 1, 1),
        torch.randn(number, 2, rows, columns, generator=generator)
        * .3 * uniform(number, 1, 1, 1)], 1).flatten(2).mT  # (R, L, C)
    error = uniform(number, rows * columns) - .5
    foreground = shares[:, 0].flatten(1) < .5 + .5 * error
    labels = _rough_kmeans(features, foreground, clusters, generator)
    sizes = F.one_hot(labels + 1, clusters + 1)[..., 1:].sum(1)
    chosen = torch.multinomial((sizes > 0).float() + 1e-6, 1, generator=generator)
    mask = (labels == chosen).float().view(number, 1, rows, columns)
    return F.interpolate(mask, (height, width), mode='nearest')[:, 0] > 0


def _randint(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (), generator=generator))


def _rough_kmeans(tokens: Tensor, foreground: Tensor, clusters: int,
                  generator: torch.Generator) -> Tensor:
    """A few Lloyd steps from one random start: (R, L), -1 outside the foreground."""
    weights = foreground.float()
    seeds = torch.multinomial(weights + 1e-6, clusters, generator=generator)
    centres = tokens.gather(1, seeds[:, :, None].expand(-1, -1, tokens.shape[2]))
    for _ in range(_LLOYD_STEPS):
        labels = torch.cdist(tokens, centres).argmin(2)
        members = F.one_hot(labels, clusters).float() * weights[:, :, None]
        centres = members.mT @ tokens / members.sum(1).clamp(min=1)[:, :, None]
    return torch.where(foreground, labels, -1)
