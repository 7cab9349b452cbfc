"""What a picture of features is checked by, point by point."""


def part_mean(image, parts, part):
    """Mean of a map (C, h, w) over the cells of a part in (H, W), each by its share of pixels.

    The map's sides divide those of ``parts``. None where the part is not seen.
    """
    channels, rows, columns = image.shape
    high, wide = parts.shape[0] // rows, parts.shape[1] // columns
    total, weight = [0.] * channels, 0.
    for i in range(parts.shape[0]):
        for j in range(parts.shape[1]):
            if parts[i, j] == part:
                weight += 1
                for c in range(channels):
                    total[c] += image[c, i // high, j // wide].item()
    return [value / weight for value in total] if weight else None


def neighbour_agreement(points, labels, k):
    """Over points: how many of the k others that are nearest have the label."""
    same = 0
    for i, point in enumerate(points):
        others = [(sum((a - b) ** 2 for a, b in zip(point, other, strict=True)), j)
                  for j, other in enumerate(points) if j != i]
        same += sum(labels[j] == labels[i] for _, j in sorted(others)[:k])
    return same / (k * len(points))
