"""Hashes of image names: the seed of an image's random draws and its address in a store."""

import hashlib
from collections.abc import Iterable

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_name(name: str) -> int:
    """64-bit hash of an image name, the same on every machine."""
    digest = hashlib.blake2b(name.encode('utf-8', 'surrogateescape'), digest_size=8).digest()
    return int.from_bytes(digest, 'little')


def hash_names(names: Iterable[str]) -> np.ndarray:
    """64-bit hashes of image names, (N,) uint64."""
    return np.fromiter((hash_name(name) for name in names), dtype=np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele et al., 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniforms(keys: np.ndarray, count: int, stream: int = 0) -> np.ndarray:
    """Counter-based uniform draws: row i depends on ``keys[i]`` and ``stream`` alone.

    Args:
        keys: One 64-bit key per image, (B,) uint64.
        count: Draws per image.
        stream: Number of the use; two uses of one key must not share their draws.

    Returns:
        (B, count) float32 in [0, 1).
    """
    keys = np.asarray(keys, dtype=np.uint64)
    salt = _mix(np.array([stream + 1], dtype=np.uint64) * _GOLDEN)
    counters = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    bits = _mix(_mix(keys ^ salt)[:, None] + counters)
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -24)
