"""How well the mini CLIP names the regions and attributes of people it has not seen."""

import numpy as np
import torch
from torch import Tensor

from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.resample import resample
from clasp_mm.pseudo_labels.text_bank import TextBank
from clasp_mm.pseudo_labels.transfer import upload
from clasp_mm.pseudo_labels.vocabulary import Vocabulary

from .objectives import PERSON_COSINE
from .people import PeopleTable, part_labels
from .region_draw import draw_token_clusters, part_shares

_BATCH = 64
_KEPT = 0.5
_SMALLEST_REGION = 0.005  # of the image


def embed(clip: CLIPModel, pixels: Tensor) -> Tensor:
    """Unit embeddings (N, E) of images (N, 3, H, W) in [0, 1], squashed to CLIP's size.

    CLIP computes where it is; they are on the CPU.
    """
    height, width = pixels.shape[-2:]
    window = upload(np.array([[0, 0, width, height]], np.float32), clip.device)
    return torch.cat([
        clip.encode_images(resample(upload(batch, clip.device), window.expand(len(batch), 4),
                                    clip.size))
        for batch in pixels.split(_BATCH)]).cpu()


def name_regions(chosen: Tensor, truth: Tensor, names: tuple[str, ...]) -> dict:
    """Accuracy per part, over regions, and the mean over the parts that occur."""
    parts = {name: dict(accuracy=_mean(chosen[truth == index] == index),
                        regions=int((truth == index).sum()))
             for index, name in enumerate(names)}
    present = [part['accuracy'] for part in parts.values() if part['regions']]
    return dict(parts=parts, accuracy=_mean(chosen == truth),
                mean_accuracy=sum(present) / max(len(present), 1))


def judge_attribute(probabilities: Tensor, truth: Tensor) -> dict:
    """Accuracy of one attribute's winners, of those that are kept, and of always the commonest.

    Args:
        probabilities: (N, V) softmax over the candidate texts.
        truth: (N,) index of the true value.
    """
    confidence, winner = probabilities.max(1)
    kept = confidence > _KEPT
    recalls = [_mean(winner[truth == value] == value)
               for value in range(probabilities.shape[1]) if (truth == value).any()]
    return dict(accuracy=_mean(winner == truth),
                balanced_accuracy=sum(recalls) / max(len(recalls), 1),
                majority=_mean(truth == truth.mode().values), mean_confidence=_mean(confidence),
                kept=_mean(kept), kept_accuracy=_mean((winner == truth)[kept]))


def _mean(values: Tensor) -> float:
    return float(values.float().mean()) if len(values) else 0.0


@torch.inference_mode()
def evaluate_mini_clip(clip: CLIPModel, vocabulary: Vocabulary, people: PeopleTable,
                       seed: int = 0) -> dict:
    """Measure the three uses of the pseudo-labeler on people that the model has not seen.

    Args:
        clip: Any CLIP.
        vocabulary: Parts, attributes and texts.
        people: Held-out people and scenes, in full size.
        seed: Seed of the draw of rough regions.

    Returns:
        ``regions`` (exact part masks), ``rough_regions`` (token clusters, to be named by their
        largest part), ``attributes`` and ``person_filter``, as plain numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    bank = TextBank.build(clip, vocabulary)
    part_texts, person_texts = bank.parts.cpu(), bank.person.cpu()
    num_parts = len(vocabulary.parts)
    whole, exact, exact_truth, rough, rough_truth = [], [], [], [], []
    for images, parsing in zip(people.images.split(_BATCH), people.parsing.split(_BATCH),
                               strict=True):
        pixels, parts = images.float() / 255, part_labels(parsing)
        whole.append(embed(clip, pixels))
        for part in range(1, num_parts + 1):
            masks = parts == part
            there = masks.flatten(1).float().mean(1) > _SMALLEST_REGION
            if there.any():
                exact.append(embed(clip, pixels[there] * masks[there][:, None]))
                exact_truth.append(torch.full((len(exact[-1]),), part - 1))
        masks = draw_token_clusters(pixels, parts, num_parts, generator)
        shares = part_shares(masks, parts, num_parts)
        there = shares.sum(1) > 0
        rough.append(embed(clip, pixels[there] * masks[there][:, None]))
        rough_truth.append(shares[there].argmax(1))

    whole = torch.cat(whole)
    attributes = {}
    for index, attribute in enumerate(vocabulary.attributes):
        truth = people.attributes[:, index]
        known = truth >= 0
        logits = clip.logit_scale * whole[known] @ bank.attributes[index].cpu().T
        attributes[attribute.name] = judge_attribute(logits.softmax(1), truth[known])
    with_person = whole @ person_texts
    without = embed(clip, people.scenes.float() / 255) @ person_texts
    return dict(
        regions=name_regions((torch.cat(exact) @ part_texts.T).argmax(1),
                             torch.cat(exact_truth), vocabulary.part_names),
        rough_regions=name_regions((torch.cat(rough) @ part_texts.T).argmax(1),
                                   torch.cat(rough_truth), vocabulary.part_names),
        attributes=attributes,
        person_filter=dict(
            people_kept=_mean(with_person > PERSON_COSINE),
            scenes_dropped=_mean(without <= PERSON_COSINE),
            people_cosine=_mean(with_person), scenes_cosine=_mean(without)))
