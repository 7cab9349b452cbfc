"""Why a score of re-identification is zero, missing or odd, in words."""

import numpy as np

from .reid_ranking import Protocol

_ODD = 99.9  # percent
_ONE_DIRECTION = .999


def split_causes(protocol: Protocol) -> list[str]:
    """What of identities and cameras lets queries be skipped; empty where none is."""
    skipped = [query for query, matches in enumerate(protocol.matches) if not len(matches)]
    if not skipped:
        return []
    nobody = int((protocol.query_pids < 0).sum())
    absent = sum(not len(protocol.same[query]) for query in skipped) - nobody
    causes = []
    if nobody:
        causes.append(f'{nobody} queries are skipped because they have no identity')
    if absent:
        causes.append(f'{absent} queries are skipped because the gallery has no image of their '
                      'identity')
    if own := len(skipped) - absent - nobody:
        causes.append(f'{own} queries are skipped because the gallery has their identity only '
                      'under their own camera or in their own file, which do not count')
    cameras = np.union1d(protocol.query_cams, protocol.gallery_cams)
    if protocol.has_cameras and len(cameras) == 1 and cameras[0] >= 0:
        causes.append(f'all images are of one camera, {cameras[0]}: if the cameras are not known, '
                      'give none')
    return causes


def score_causes(mean_ap: float, query_features: np.ndarray, gallery_features: np.ndarray,
                 protocol: Protocol, shared_with_train: int = 0) -> list[str]:
    """What explains a score, beside :func:`split_causes`; empty where nothing is strange.

    Args:
        mean_ap: mAP in percent.
        query_features: (Q, C).
        gallery_features: (G, C).
        protocol: Protocol of the evaluation.
        shared_with_train: Identities of the test set that were trained on.
    """
    causes = split_causes(protocol)
    if shared_with_train:
        causes.append(f'{shared_with_train} identities of the test set were trained on: the '
                      'score is not one of unseen people')
    features = np.concatenate([query_features, gallery_features])
    if np.ptp(features, axis=0).max() <= 1e-5 * np.abs(features).max():
        causes.append('the features of all images are equal: the model has collapsed, or its '
                      'weights are not those that were meant')
    elif (cosine := _mean_cosine(features)) > _ONE_DIRECTION:
        causes.append(f'the features of all images have nearly one direction, a mean cosine of '
                      f'{cosine:.4f}: if loss_triplet stayed near 0.69 (log 2), the hardest '
                      'triplets have pulled all people together; lower model.head.triplet_weight '
                      "or the learning rate, or test with model.head.test_feature='after'")
    if mean_ap >= _ODD:
        known = {row.tobytes() for row in np.ascontiguousarray(gallery_features)}
        twins = sum(row.tobytes() in known for row in np.ascontiguousarray(query_features))
        if twins:
            causes.append(f'{twins} of {len(query_features)} queries have the very features of a '
                          'gallery image: the same picture lies in both')
    return causes


def _mean_cosine(features: np.ndarray) -> float:
    """Mean cosine similarity of all pairs, each with itself too."""
    lengths = np.sqrt(np.einsum('nc,nc->n', features, features))
    mean = (1 / np.maximum(lengths, 1e-12)) @ features / len(features)
    return float(mean @ mean)
