"""Several processes write what one writes: embedding, the search index, inference."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.multiprocessing import ProcessRaisedException

import clasp_mm
from clasp_mm.datasets import LUPerson
from clasp_mm.inferencers import inputs
from clasp_mm.models.backbones import PCMoESwin
from clasp_mm.search import backbone_encoder, parse_query, search_images
from clasp_mm.search.embed import embed_images
from clasp_mm.utils.shards import Blocks, digest, own_process
from tests.test_inferencers.test_inferencer import build
from tests.two_at_once import spread

SIZE = (32, 16)
WORK = """
import sys
from tests.test_utils import test_shards
test_shards.WORKS[sys.argv[1]](*sys.argv[2:])
"""


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """Eleven pictures, the third of which is none."""
    folder = tmp_path_factory.mktemp('people')
    rng = np.random.default_rng(0)
    for number in range(11):
        cv2.imwrite(str(folder / f'{number:02d}.png'), rng.integers(0, 256, (64, 32, 3), np.uint8))
    (folder / '02.png').write_bytes(b'none')
    return folder


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return build('attribute', tmp_path_factory.mktemp('models'))


def backbone():
    torch.manual_seed(0)
    model = PCMoESwin(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2),
                      out_indices=(1, ), window_size=4,
                      moe=dict(num_experts=3, top_k=2, expert_hidden=4))
    model.task = 'part'
    return model.eval()


def process():
    rank, world_size = own_process()
    return dict(rank=rank, world_size=world_size)


def embed(people, out, fails=''):
    model = backbone()
    if fails and process()['rank'] == 1:
        model.register_forward_hook(fail)
    embed_images(model, LUPerson(people), Path(out, 'f.npy'), SIZE, 2, 0, show_progress=False,
                 **process())


def fail(*_):
    raise ValueError('the second process fails')


def search(people, out):
    source, look = LUPerson(people), backbone_encoder(backbone(), SIZE, 'part')
    found = search_images(source, parse_query([str(Path(people, '00.png'))]), Path(out, 'index'),
                          look=look, batch_size=2, num_workers=0, progress=False, **process())
    if found is not None:
        with open(Path(out, 'found.json'), 'x') as file:  # one process alone
            json.dump(found.to_dict(), file)


def infer(people, out, config, checkpoint):
    inputs._CHUNK_BATCHES = 1
    clasp_mm.inference('attribute', people, config, checkpoint, out_dir=out, batch_size=2,
                       **process())


WORKS = dict(embed=embed, search=search, infer=infer)


def torchrun(count, *args):
    return subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
         str(count), '--no-python', sys.executable, '-c', WORK, *map(str, args)],
        capture_output=True, text=True, timeout=240, cwd=Path(__file__).parents[2])


def work_of(rank, count, port, work, *args):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank),
                      MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    torch.set_num_threads(1)
    WORKS[work](*args)


def spread_work(count, *args):
    """As torchrun does, without a new interpreter for each."""
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    spread(work_of, count, port, *map(str, args), count=count)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*'))
            if path.is_file()}


@pytest.mark.parametrize('work', WORKS)
def test_two_processes_write_what_one_writes(work, people, files, tmp_path):
    more = files if work == 'infer' else ()
    found = []
    for name, count in (('one', 1), ('two', 2)):
        (tmp_path / name).mkdir()
        spread_work(count, work, people, tmp_path / name, *more)
        found.append(content(tmp_path / name))
    if work != 'search':
        assert found[0] == found[1] and len(found[0]) >= 4
        return
    # The segments' names are drawn, and each process has its own.
    rows = [np.sort(np.concatenate([np.load(path) for path in (tmp_path / name).rglob('*.npy')]),
                    order='key') for name in ('one', 'two')]
    assert len(rows[0]) == 10 and (rows[0] == rows[1]).all()
    assert len(list((tmp_path / 'two').rglob('*.npy'))) == 2
    assert not list((tmp_path / 'two').rglob('*.blocks'))
    one, two = (json.loads(files['found.json']) for files in found)
    for hits in zip(one.pop('hits'), two.pop('hits'), strict=True):
        assert hits[0]['name'] == hits[1]['name']
        assert hits[0]['score'] == pytest.approx(hits[1]['score'], abs=1e-6)
    for asked in (one, two):  # as do scores, they depend on the size of a product
        for part in asked['query']:
            part.update(mean=round(part['mean'], 6), deviation=round(part['deviation'], 6))
    assert one == two and one['features'].popitem()[1]['embedded'] == 10


@pytest.mark.parametrize('by_torchrun', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_error_of_one_process_ends_all_and_the_next_run_goes_on(people, tmp_path, by_torchrun):
    if by_torchrun:
        run = torchrun(2, 'embed', people, tmp_path / 'two', 'fails')
        assert run.returncode != 0 and 'the second process fails' in run.stderr
    else:
        with pytest.raises(ProcessRaisedException, match='the second process fails'):
            spread_work(2, 'embed', people, tmp_path / 'two', 'fails')
    assert not (tmp_path / 'two/f.npy').exists()
    for path in (tmp_path / 'two').glob('.*'):  # whether the first came to its end is chance
        shutil.rmtree(path)
    assert embed_images(backbone(), LUPerson(str(people)), tmp_path / 'two/f.npy', SIZE, 2, 0,
                        show_progress=False, rank=0, world_size=2) is None
    segment, = (tmp_path / 'two').glob('.f.npy.*.features/*.npy')
    assert len(np.load(segment)) in (5, 6)  # of three batches of two, one image cannot be read
    (tmp_path / 'one').mkdir()
    for out, count in (('one', 1), ('two', 3)):  # other processes than before
        spread_work(count, 'embed', people, tmp_path / out)
    assert content(tmp_path / 'one') == content(tmp_path / 'two')


def test_processes_without_an_image_have_nothing_to_do(people, tmp_path):
    """Eleven images are one batch of 64."""
    results = [embed_images(backbone(), LUPerson(str(people)), tmp_path / 'f.npy', SIZE,
                            num_workers=0, show_progress=False, rank=rank, world_size=4)
               for rank in (3, 2, 1, 0)]
    assert results[:3] == [None] * 3 and results[3]['num_images'] == 10
    assert not list(tmp_path.glob('.*'))


def test_blocks_are_put_together_by_one_process_that_finds_all(tmp_path):
    blocks = [Blocks(tmp_path / 'b', 3, rank, 2) for rank in (0, 1)]
    assert [one.own() for one in blocks] == [[0, 2], [1]]
    for one in blocks:
        for block in one.own():
            one.write(block, b'%d' % block)
        with one.finishing() as paths:
            assert paths is None or [path.read_bytes() for path in paths] == [b'0', b'1', b'2']
        assert (paths is None) == (one is blocks[0])
    assert not (tmp_path / 'b').exists()
    with blocks[0].finishing() as paths:
        assert paths is None
    for error, stays in ((OSError, True), (ValueError, False)):  # a full disk is no fault of theirs
        one = Blocks(tmp_path / error.__name__, 1)
        one.write(0, b'')
        with pytest.raises(error), one.finishing():
            raise error
        assert one.folder.exists() == stays
    with pytest.raises(ValueError, match='rank 2 is none of 2 processes'):
        Blocks(tmp_path, 3, 2, 2)


def test_the_digest_sees_what_lies_inside():
    class Index:
        def __init__(self, value):
            self.features = np.array([value])

    assert digest([Index(1.)], Path('a')) == digest([Index(1.)], Path('a'))
    assert len({digest(one) for one in ([Index(1.)], [Index(2.)], dict(a=1), dict(a=2), None)}) == 5


def test_bfloat16_features_are_near_and_never_mix_with_float32(people, tmp_path):
    found = []
    for amp in (False, True):
        embed_images(backbone(), LUPerson(str(people)), tmp_path / 'f.npy', SIZE, num_workers=0,
                     show_progress=False, amp=amp)
        found.append(np.load(tmp_path / 'f.npy'))
    exact, fast = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in found)
    assert found[1].dtype == np.float32 and (exact != fast).any()
    assert (exact * fast).sum(1).min() > .999
    names = [backbone_encoder(backbone(), SIZE, 'part', amp).name for amp in (None, False, True)]
    assert names[0] == names[1] and names[2] == f'{names[0]}-bfloat16'
