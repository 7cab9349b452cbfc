import cv2
import numpy as np
import pytest


def draw_people(root):
    """Four people of two colours in LIP's layout, 40x24: a head, a body and legs."""
    for split, count in (('train', 4), ('val', 2)):
        labels = root / f'TrainVal_parsing_annotations/{split}_segmentations'
        images = root / f'{split}_images'
        labels.mkdir(parents=True)
        images.mkdir()
        for index in range(count):
            label = np.zeros((40, 24), np.uint8)
            label[3:10, 8:15], label[10:24, 6:18] = 13, 5
            label[24:38, 6:12], label[24:38, 12:18] = 17, 16
            image = np.stack([label * 12, 250 - label * 12, np.full_like(label, 60 * index)], -1)
            cv2.imwrite(str(images / f'{index}.jpg'), image)
            cv2.imwrite(str(labels / f'{index}.png'), label)
        names = ''.join(f'{index}\n' for index in range(count))
        (root / f'{split}_id.txt').write_text(names)
    return root


@pytest.fixture
def lip(tmp_path):
    """A data root to spoil."""
    return draw_people(tmp_path / 'lip')
