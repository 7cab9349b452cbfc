"""The examples in the docstrings of the public face: every name has one, and all are true."""

import doctest
import inspect
from importlib import import_module

import cv2
import numpy as np
import pytest
import torch

from clasp_mm.inferencers.verification import calibrate
from clasp_mm.models import PCMoESwin
from clasp_mm.synthetic import SyntheticPeople
from tests.test_inferencers.test_inferencer import build
from tests.test_pseudo_labels.test_store import make_store
from tests.test_zoo.test_publish import make_run

ROOMS = ['clasp_mm', 'clasp_mm.apis', 'clasp_mm.evaluation.functional', 'clasp_mm.models',
         'clasp_mm.models.layers', 'clasp_mm.models.losses']
MORE = ['clasp_mm.evaluation.functional.verification', 'clasp_mm.models.attribute.attribute_head',
        'clasp_mm.models.losses.parsing', 'clasp_mm.models.reid.reid_head',
        'clasp_mm.utils.names', 'clasp_mm.utils.tables']
SMALL = dict(arch=dict(embed_dims=8, depths=(1, ), num_heads=(1, )), strides=(4, ),
             out_indices=(0, ), window_size=4, moe=dict(num_experts=2, top_k=1, expert_hidden=4))


def public():
    """Classes and functions that the rooms offer, by the module and name of their home."""
    found = {}
    for room in map(import_module, ROOMS):
        for name in room.__all__:
            value = getattr(room, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f'{value.__module__}.{value.__name__}'] = value
    return found


PUBLIC = public()
MODULES = sorted({value.__module__ for value in PUBLIC.values()} | set(MORE))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A folder with what the examples name: images, a run, models, labels."""
    folder = tmp_path_factory.mktemp('examples')
    people = SyntheticPeople(2, 2, seed=1, size=(64, 32))
    for index, person in enumerate(people):
        for path in (folder / 'people' / f'{index}.jpg',
                     folder / 'tracklets' / str(person.identity) / f'{index}.jpg'):
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), person.image[..., ::-1])
    make_run(folder)
    make_store(folder / 'labels')
    calibrate(*build('reid', folder), folder / 'tracklets', folder / 'calibrated.pth', .5)
    for name, arch in (('backbone', dict(arch='nano')), ('small', SMALL)):
        state = {f'backbone.{key}': value for key, value in PCMoESwin(**arch).state_dict().items()}
        meta = dict(backbone=dict(type='clasp_mm.PCMoESwin', **arch))
        torch.save(dict(state_dict=state, meta=meta), folder / f'{name}.pth')
    return folder


@pytest.mark.parametrize('name', sorted(PUBLIC))
def test_public_names_have_an_example(name):
    assert '>>>' in inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize('name', MODULES)
def test_examples_are_true(name, files, monkeypatch):
    monkeypatch.chdir(files)
    found = doctest.testmod(import_module(name), extraglobs=dict(np=np, torch=torch))
    assert found.attempted and not found.failed
