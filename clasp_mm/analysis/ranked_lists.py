"""A page of a model's ranked lists: median, best and worst queries of its test set."""

import os

import numpy as np
import torch
from mmengine.registry import DefaultScope

from clasp_mm.datasets.images import read_image
from clasp_mm.evaluation.functional import evaluate_reid
from clasp_mm.evaluation.functional.reid_distances import FeatureDistances, as_features
from clasp_mm.evaluation.functional.reid_ranking import with_own_files
from clasp_mm.inferencers.loading import read_config
from clasp_mm.inferencers.reid import embed_files, load
from clasp_mm.registry import DATASETS
from clasp_mm.visualization.neighbours import Cell, Row, thumbnail
from clasp_mm.visualization.pages import write_page
from clasp_mm.visualization.ranked_lists import select_queries


def write_ranked_page(config: str | os.PathLike, checkpoint: str | os.PathLike,
                      out: str | os.PathLike, count: int = 4, top: int = 10,
                      device: str | torch.device | None = None) -> float:
    """Rank the test set of a config and draw its telling queries.

    Images of the query's identity and camera, which do not count, are left out of the lists; where
    the camera is not known, the query's own file. Images that cannot be read are left out of the
    test set, counted and named.

    Args:
        config: Config of the model, with ``test_dataloader``, or its name in the zoo.
        checkpoint: Checkpoint of its training, or its name in the zoo.
        out: HTML file to write.
        count: Queries of each kind.
        top: Length of the lists.
        device: Where the model runs; by default on the GPU where there is one.

    Returns:
        mAP in percent.

    Raises:
        FileNotFoundError: Config, checkpoint or data are missing.
        ValueError: The weights do not fit, or no query has a match.
    """
    cfg = read_config(config)
    model = load(cfg, checkpoint, device)
    settings = cfg.test_dataloader.dataset
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        data = DATASETS.build({**settings, 'pipeline': []})
    infos = [data.get_data_info(i) for i in range(len(data))]
    features, rows = embed_files(model, [info['img_path'] for info in infos])
    infos = [infos[row] for row in rows]
    is_query = np.array([info['is_query'] for info in infos])
    pids, cameras, paths = (np.array([info[key] for info in infos])
                            for key in ('pid', 'camera', 'img_path'))
    cameras = with_own_files(cameras, paths)
    parts = [(values[is_query], values[~is_query]) for values in (features, pids, cameras)]
    (query, gallery), (query_pids, pids), (query_cams, cameras) = parts
    found = evaluate_reid(query, gallery, query_pids, pids, query_cams, cameras, device=device)
    distances = FeatureDistances(as_features('query', query, device),
                                 as_features('gallery', gallery, device))
    found_rows = []
    for kind, rows in select_queries(found['average_precision'], count).items():
        for row in rows:
            stays = np.flatnonzero((pids != query_pids[row]) | (cameras != query_cams[row]))
            exact = distances.exact(np.full(len(stays), row), stays)
            near = np.argsort(exact, kind='stable')[:top]
            hits = [_cell(path, f'distance {distance:.3f}', 'right' if right else 'wrong')
                    for path, distance, right in zip(
                        paths[~is_query][stays[near]], np.sqrt(exact[near]),
                        pids[stays[near]] == query_pids[row], strict=True)]
            found_rows.append(Row(
                _cell(paths[is_query][row], 'query'), hits,
                f'{kind}: average precision {found["average_precision"][row]:.1f} %'))
    note = (f'{found["num_valid"]} queries, {len(gallery)} gallery images, mAP {found["mAP"]:.1f}, '
            f'rank-1 {found["rank1"]:.1f}. Images of the query\'s person and camera are left out. '
            'Green frames: the same person; red: another.')
    write_page(out, 'neighbours', 'Ranked lists', note, f'{config}, {checkpoint}',
               str(settings.get('data_root', '')), rows=found_rows, legend=())
    return found['mAP']


def _cell(path: str, score: str, kind: str = '') -> Cell:
    return Cell(path, [thumbnail(read_image(path)[..., ::-1])], path, score, kind)
