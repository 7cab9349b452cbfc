"""Tables of identities are compared with the training set before the first iteration."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from torch import nn
from torch.utils.data import BatchSampler, SequentialSampler

from clasp_mm.datasets import IdentitySampler
from clasp_mm.engine.hooks import IdentityCountHook
from clasp_mm.models import ReIDHead
from clasp_mm.models.losses import OIMLoss
from clasp_mm.utils.resources import shipped_file

CONFIGS = sorted([*shipped_file('configs/person_search').glob('*.py'),
                  *shipped_file('configs/reid').glob('*.py'),
                  *shipped_file('configs/quickstart').glob('reid_*.py'),
                  *shipped_file('configs/quickstart').glob('person_search_*.py')])


class Data:
    data_root = 'data/prw/'

    def __init__(self, identities):
        self.metainfo = {} if identities is None else dict(num_identities=identities)


class People:

    def get_data_info(self, index):
        return dict(gt_label=index // 4)

    def __len__(self):
        return 16


class Repeated:
    def __init__(self, dataset):
        self.dataset, self.metainfo = dataset, dataset.metainfo


def before_train(module, data, sampler=None, batch_size=1, path='head.inner'):
    model = module
    for name in reversed(path.split('.')):
        model = nn.ModuleDict({name: model})
    IdentityCountHook().before_train(SimpleNamespace(
        model=model, logger=logging.getLogger('test'),
        train_dataloader=SimpleNamespace(dataset=data, batch_sampler=BatchSampler(
            sampler or SequentialSampler(range(9)), batch_size, False))))


@pytest.mark.parametrize('rows, identities', [(482, 483), (5531, 5532)])
def test_a_table_with_too_few_rows_stops_the_run_at_its_start(rows, identities):
    for table in (OIMLoss(rows, 4, channels=2), ReIDHead(rows, in_channels=2)):
        name = 'num_identities' if isinstance(table, OIMLoss) else 'num_classes'
        for data in (Data(identities), Repeated(Data(identities))):
            with pytest.raises(ValueError, match=(
                    rf'model\.head\.inner\.{name} is {rows}, but the training set, Data in '
                    rf'data/prw/, has {identities} identities: set .*\.{name}={identities}')):
                before_train(table, data)


def test_a_batch_that_is_not_the_samplers_stops_the_run_at_its_start():
    sampler = IdentitySampler(People(), 2, 4, seed=0)
    with pytest.raises(ValueError, match=r'batch_size is 4, but its sampler draws 2 people of 4 '
                                         r'images: set batch_size=8, or sampler.num_identities=1'):
        before_train(nn.Linear(2, 2), Data(4), sampler, 4)
    before_train(nn.Linear(2, 2), Data(4), sampler, 8)


def test_rows_without_an_identity_are_told_and_a_fitting_table_is_not(caplog):
    before_train(OIMLoss(200, 4, channels=2), Data(56))
    assert "is 200, the training set, Data in data/prw/, has 56 identities: 144 rows are nobody's" \
        in caplog.text
    caplog.clear()
    for table, data in ((OIMLoss(56, 4, channels=2), Data(56)), (OIMLoss(56, 4), Data(None)),
                        (nn.Linear(2, 2), Data(9))):
        before_train(table, data)
    assert not caplog.text


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_with_identities_checks_them(path):
    hooks = Config.fromfile(path).custom_hooks
    assert 'clasp_mm.IdentityCountHook' in [hook.type for hook in hooks]


def test_a_wrapped_model_is_named_as_its_config_has_it():
    with pytest.raises(ValueError, match=r'^model\.head\.num_identities is 3'):
        before_train(OIMLoss(3, 4, channels=2), Data(4), path='module.head')
