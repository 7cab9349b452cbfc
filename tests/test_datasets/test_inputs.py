import numpy as np
import pytest
import torch

from clasp_mm import load_images
from clasp_mm.datasets.images import write_image


@pytest.mark.parametrize('kind', [str, lambda path: path])
def test_one_file_is_a_batch_of_one(tmp_path, kind):
    path = tmp_path / 'a.png'
    write_image(path, np.random.default_rng(0).integers(0, 256, (20, 10, 3), np.uint8))
    assert torch.equal(load_images(kind(path), (8, 4)), load_images([path], (8, 4)))


def test_no_file_is_an_error():
    with pytest.raises(ValueError, match=r'paths=\[\] names no image: give one file or more'):
        load_images([])
