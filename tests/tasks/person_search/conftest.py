from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from clasp_mm.synthetic import write_cuhk_sysu

SIZE = (120, 160)  # height, width


@pytest.fixture(scope='session')
def drawn(tmp_path_factory) -> Path:
    """A small CUHK-SYSU of drawn people."""
    root = tmp_path_factory.mktemp('cuhk_sysu')
    for split in ('train', 'val'):
        write_cuhk_sysu(root, split, 10, size=SIZE, workers=1, progress=False)
    return root


@pytest.fixture
def prw(tmp_path) -> Path:
    """PRW with two frames a split; person 30 and 12 to train on, 7 to search."""
    frames = {
        'train': {'c1s1_000001': [(30, 10, 10, 20, 60), (-2, 60, 10, 20, 60)],
                  'c2s1_000002': [(12, -5.5, 10.7, 20, 60)]},
        'test': {'c3s1_000003': [(7, 10, 10, 20, 60), (-2, 60, 10, 20, 60)],
                 'c3s1_000004': [(7, 50, 10, 20, 60), (8, 10, 10, 0, 60)],
                 'c3s1_000005': []}}
    for folder in ('frames', 'annotations'):
        (tmp_path / folder).mkdir()
    for split, content in frames.items():
        for stem, people in content.items():
            cv2.imwrite(str(tmp_path / f'frames/{stem}.jpg'), np.full((*SIZE, 3), 90, np.uint8))
            savemat(tmp_path / f'annotations/{stem}.jpg.mat',
                    {'box_new': np.array(people, float).reshape(-1, 5)})
        cells = np.empty((len(content), 1), object)
        cells[:, 0] = list(content)
        savemat(tmp_path / f'frame_{split}.mat', {f'img_index_{split}': cells})
    (tmp_path / 'query_info.txt').write_text('7 10.0 10.0 20.0 60.0 c3s1_000003\n')
    return tmp_path
