"""Text embeddings of a vocabulary: one direction for each part and attribute value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .clip_model import CLIPModel
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class TextBank:
    """Unit text embeddings; each is the renormalised mean over the texts of one meaning.

    Args:
        parts: (P, E).
        attributes: (V_a, E) for each attribute.
        person: (E,), of the texts that the person filter asks for.
    """

    parts: Tensor
    attributes: tuple[Tensor, ...]
    person: Tensor

    @classmethod
    def build(cls, clip: CLIPModel, vocabulary: Vocabulary) -> TextBank:
        def stack(groups: list[list[str]]) -> Tensor:
            return torch.stack([clip.encode_texts(texts) for texts in groups])

        return cls(
            parts=stack(vocabulary.part_texts()),
            attributes=tuple(stack([list(texts) for texts in attribute.texts])
                             for attribute in vocabulary.attributes),
            person=clip.encode_texts(vocabulary.person_texts))
