"""What the mini CLIP is trained on: cosines of images and texts, and a parsing to learn by."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clasp_mm.pseudo_labels.text_bank import TextBank
from clasp_mm.pseudo_labels.transfer import upload
from clasp_mm.pseudo_labels.vocabulary import Vocabulary
from clasp_mm.synthetic.words import LIP_CLASSES

from .architecture import PREPROCESS, build_mini_clip
from .batches import Batch

PERSON_COSINE = 0.2
LOSS_WEIGHTS = dict(region=1., attribute=3., person=.3, caption=.3, parsing=1.)


class CandidateTexts:
    """Tokenised once; embedded anew after every step, since the text tower learns too."""

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[list[str]], Tensor]) -> None:
        texts: list[str] = []

        def rows(group: Sequence[str]) -> slice:
            texts.extend(group)
            return slice(len(texts) - len(group), len(texts))

        self._parts = [rows(group) for group in vocabulary.part_texts()]
        self._attributes = [[rows(group) for group in attribute.texts]
                            for attribute in vocabulary.attributes]
        self._person = rows(vocabulary.person_texts)
        self.tokens = tokenize(texts)

    def __len__(self) -> int:
        return len(self.tokens)

    def group(self, embeddings: Tensor) -> TextBank:
        """Candidates by the unit embeddings (T, D) of ``self.tokens``: normalised means."""
        def directions(groups: Sequence[slice]) -> Tensor:
            return F.normalize(torch.stack([embeddings[rows].mean(0) for rows in groups]), dim=-1)

        return TextBank(
            parts=directions(self._parts),
            attributes=tuple(directions(groups) for groups in self._attributes),
            person=directions([self._person])[0])


def region_loss(regions: Tensor, shares: Tensor, parts: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of naming regions; the target is how much of each part a region holds.

    Args:
        regions: unit embeddings of masked images (R, D).
        shares: share of each part among the region's person pixels (R, P), rows sum to one.
        parts: part text directions (P, D).
        scale: factor from cosine to logit.
    """
    return F.cross_entropy(scale * regions @ parts.T, shares)


def attribute_loss(people: Tensor, targets: Tensor, attributes: Sequence[Tensor],
                   scale: Tensor) -> Tensor:
    """Mean over attributes of the cross-entropy among an attribute's candidate texts.

    Args:
        people: unit embeddings of whole images (B, D).
        targets: index of the true value (B, A), -1 where unknown.
        attributes: text directions (V_a, D) of each attribute.
        scale: factor from cosine to logit.
    """
    losses = [F.cross_entropy(scale * people @ texts.T, targets[:, index],
                              ignore_index=-1, reduction='sum')
              for index, texts in enumerate(attributes)]
    return torch.stack(losses).sum() / (targets >= 0).sum().clamp(min=1)


def person_loss(images: Tensor, is_person: Tensor, person: Tensor, scale: Tensor) -> Tensor:
    """Sigmoid loss of "a photo of a person", with the filter's cosine as its turning point.

    Args:
        images: unit embeddings (B, D) of people and of scenes without people.
        is_person: (B,) bool.
        person: direction (D,) of the filter's text.
        scale: factor from cosine to logit.
    """
    logits = scale * (images @ person - PERSON_COSINE)
    return F.binary_cross_entropy_with_logits(logits, is_person.float())


def caption_loss(images: Tensor, texts: Tensor, holds: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric contrastive loss where a caption may be true of several images.

    Args:
        images: unit embeddings (B, D).
        texts: unit embeddings (T, D) of distinct captions.
        holds: (B, T) bool, whether the caption states only facts of the image. Rows and columns
            without any true pair are left out.
        scale: factor from cosine to logit.
    """
    logits = scale * images @ texts.T

    def one_way(logits: Tensor, holds: Tensor) -> Tensor:
        matched = holds.any(1)
        if not matched.any():
            return logits.sum() * 0
        targets = holds[matched].float()
        return F.cross_entropy(logits[matched], targets / targets.sum(1, keepdim=True))

    return (one_way(logits, holds) + one_way(logits.T, holds.T)) / 2


class ParsingHeads(nn.Module):
    """Linear maps from the tower's inner maps to LIP's classes; used in training only.

    What a cell shows is a far denser signal than what a whole image shows; with it the tower
    learns to see people in the few hundred steps that there are.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Conv2d(width * scale, len(LIP_CLASSES), 1) for scale in (4, 8, 16))

    def forward(self, maps: Sequence[Tensor], parsing: Tensor) -> Tensor:
        """Mean cross-entropy with the class at the centre of each cell.

        Args:
            maps: outputs of the first three stages, (B, 4w, S/4, S/4) to (B, 16w, S/16, S/16).
            parsing: (B, S, S) LIP's classes.
        """
        losses = []
        for head, cells in zip(self.heads, maps, strict=True):
            stride = parsing.shape[1] // cells.shape[2]
            centres = parsing[:, stride // 2::stride, stride // 2::stride]
            losses.append(F.cross_entropy(head(cells), centres))
        return torch.stack(losses).mean()


class Objective(nn.Module):
    """A fresh model, and all terms of its loss on one batch.

    Args:
        architecture: of the model, see :func:`~.train.train_mini_clip`.
        vocabulary: parts, attributes and texts.
    """

    def __init__(self, architecture: dict, vocabulary: Vocabulary) -> None:
        from open_clip import SimpleTokenizer
        super().__init__()
        self.model = build_mini_clip(architecture)
        self.parsing_heads = ParsingHeads(architecture['vision_cfg']['width'])
        self.tokenize = SimpleTokenizer(
            context_length=architecture['text_cfg']['context_length'])
        self.texts = CandidateTexts(vocabulary, self.tokenize)
        for name in ('mean', 'std'):
            self.register_buffer(name, torch.tensor(PREPROCESS[name])[:, None, None],
                                 persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Unweighted terms: ``region``, ``attribute``, ``person``, ``caption``, ``parsing``."""
        number = len(batch.people)
        images = torch.cat([batch.people, batch.scenes, batch.regions])
        seen = self.model.visual.forward_intermediates(
            (images - self.mean) / self.std, indices=[1, 2, 3, 4])
        embedded = F.normalize(seen['image_features'], dim=-1)
        whole, regions = embedded.split([number + len(batch.scenes), len(batch.regions)])
        tokens = torch.cat([self.texts.tokens, self.tokenize(list(batch.captions))])
        text_embedded = self.model.encode_text(upload(tokens, images.device), normalize=True)
        candidates = self.texts.group(text_embedded[:len(self.texts)])
        is_person = torch.arange(len(whole), device=whole.device) < number
        scale = self.model.logit_scale.exp()
        return dict(
            region=region_loss(regions, batch.shares, candidates.parts, scale),
            attribute=attribute_loss(
                whole[:number], batch.attributes, candidates.attributes, scale),
            person=person_loss(whole, is_person, candidates.person, scale),
            caption=caption_loss(whole, text_embedded[len(self.texts):], batch.holds, scale),
            parsing=self.parsing_heads(
                [cells[:number] for cells in seen['image_intermediates'][:3]], batch.parsing))


def weighted(terms: dict[str, Tensor]) -> Tensor:
    """Sum of the terms of :class:`Objective`, each with its weight."""
    return sum(LOSS_WEIGHTS[name] * value for name, value in terms.items())
