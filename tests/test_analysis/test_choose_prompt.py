import csv
import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from clasp_mm.analysis.choose_prompt import choose_prompt, format_choice, read_labels
from clasp_mm.analysis.choose_prompt.choice import prompt_candidates
from clasp_mm.analysis.choose_prompt.features import load_readable, prompt_features, token_grid
from clasp_mm.analysis.choose_prompt.labels import read_map
from clasp_mm.analysis.choose_prompt.scoring import make_score
from clasp_mm.datasets.inputs import load_images
from clasp_mm.datasets.reid import NO_CAMERA, NOBODY
from clasp_mm.evaluation.functional import attribute_metrics, evaluate_reid, parsing_iou
from clasp_mm.evaluation.probes.linear import linear_probe_segmentation
from clasp_mm.models import PCMoESwin
from tests.source_tree import ROOT

SIZE = (32, 16)
ARCH = dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2))
BACKBONE = dict(type='clasp_mm.PCMoESwin', arch=ARCH, strides=(4, 2), out_indices=(1, ),
                window_size=4, moe=dict(num_experts=3, top_k=2, expert_hidden=4))


@pytest.fixture(autouse=True)
def two_weight_decays(monkeypatch):
    monkeypatch.setattr('clasp_mm.analysis.choose_prompt.choice.L2_CHOICES', (1e-1, 1e-2))


@pytest.fixture(scope='module')
def backbone():
    """Sixteen features that depend on the prompt more than on anything else."""
    torch.manual_seed(1)
    model = PCMoESwin(**{key: value for key, value in BACKBONE.items() if key != 'type'}).eval()
    for name, parameter in model.named_parameters():
        if '.moe.' in name:
            torch.nn.init.normal_(parameter, std=.7)
    return model


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """120 pictures of blurred noise, i000.png and on."""
    folder = tmp_path_factory.mktemp('people')
    rng = np.random.default_rng(0)
    for i in range(120):
        noise = cv2.resize(rng.integers(0, 255, (8, 4, 3), np.uint8), SIZE[::-1])
        cv2.imwrite(str(folder / f'i{i:03d}.png'), noise)
    return folder


def features_under(backbone, people, task):
    with torch.no_grad():
        maps = backbone(load_images(sorted(people.glob('*.png')), SIZE), task)[-1]
    features = maps.mean((2, 3)).double().numpy()
    return (features - features.mean(0)) / features.std(0)


def write_table(path, columns, rows):
    with path.open('w', newline='') as file:
        csv.writer(file).writerows([columns, *rows])
    return path


NAMES = [f'i{i:03d}.png' for i in range(120)]


@pytest.mark.parametrize('planted', ['attribute', ('appearance', 'part')])
def test_the_prompt_that_labels_were_planted_in_ranks_first(backbone, people, tmp_path, planted):
    # two names are one for each of two stages: nested
    task = planted if isinstance(planted, str) else (planted, planted)
    features = features_under(backbone, people, task)
    side = features @ np.random.default_rng(2).normal(size=(16, 4)) > 0
    table = write_table(tmp_path / 'labels.csv', ['image', *'abcd'],
                        [[name, *row.astype(int)] for name, row in zip(NAMES, side, strict=True)])
    choice = choose_prompt(backbone, read_labels('attributes', people, table), SIZE,
                           progress=False)
    assert choice.best == task and choice.metric == 'mA' and choice.num_images == 120
    best, second = choice.ranking[:2]
    assert best.interval[0] <= best.score <= best.interval[1] and best.first > .5
    assert second.behind == pytest.approx(best.score - second.score)
    told = format_choice(choice)
    assert f'task={task!r}' in told
    assert all(f'| `{name!r}` |' in told for name in ('appearance', 'part', 'attribute'))


def test_identities_planted_in_a_prompt(backbone, people, tmp_path):
    """A person is whoever lies near in the features under one prompt."""
    features = features_under(backbone, people, 'part')
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    free, owner = set(range(120)), {}
    while free:
        first = min(free)
        near = sorted(free, key=lambda i: -features[first] @ features[i])[:4]
        owner.update(dict.fromkeys(near, first))
        free -= set(near)
    table = write_table(tmp_path / 'people.csv', ['image', 'identity'],
                        [[name, f'p{owner[i]}'] for i, name in enumerate(NAMES)])
    choice = choose_prompt(backbone, read_labels('identity', people, table), SIZE,
                           progress=False)
    assert choice.best == choice.advised == 'part' and choice.l2 is None
    assert not choice.ranking[1].tied


def test_the_simplest_of_the_tied_is_advised(backbone, people, tmp_path):
    """Labels that no image tells: all are tied, a plain prompt will do."""
    rng = np.random.default_rng(0)
    table = write_table(tmp_path / 'labels.csv', ['image', 'class'],
                        [[name, 'xy'[rng.integers(2)]] for name in NAMES])
    choice = choose_prompt(backbone, read_labels('classes', people, table), SIZE,
                           progress=False)
    assert isinstance(choice.advised, str)
    assert sum(row.tied for row in choice.ranking) > len(choice.ranking) / 2
    plain = [row for row in choice.ranking if isinstance(choice.candidates[row.index], str)]
    assert choice.advised == choice.candidates[plain[0].index]


def test_scores_are_those_of_the_evaluations():
    """What is summed by person or image equals the measures of the whole set."""
    rng = np.random.default_rng(0)
    people, cameras = np.repeat(np.arange(20), 3), rng.integers(3, size=60)
    features = rng.normal(size=(20, 8))[people] + 2 * rng.normal(size=(60, 8))
    labels = read_like('identity', people, people, cameras)
    tally = make_score(labels)(features, 0)
    expected = evaluate_reid(features, features, people, people, cameras, cameras, metric='cosine')
    assert len(tally.sums) == 20
    assert tally.score(tally.sums.sum(0)) == pytest.approx(expected['mAP'])

    known = (features[:, :3] > 0).astype(np.int8)
    known[::7, 1] = -1
    tally = make_score(read_like('attributes', known, people))(features, 1e-2)
    from clasp_mm.evaluation.probes.folds import (
        as_rows,
        fold_attributes,
        fold_classes,
        make_folds,
    )
    fold = make_folds(people)
    found = fold_attributes(as_rows('features', features), known, fold, 1e-2)
    assert tally.score(tally.sums.sum(0)) == pytest.approx(attribute_metrics(found, known)['mA'])

    tokens = rng.normal(size=(60, 6, 8))
    classes = np.where(tokens[..., 0] > 0, 9, np.where(tokens[..., 1] > 0, 4, 255))
    tally = make_score(read_like('maps', people, people), classes)(tokens, 1e-2)
    place = np.full(256, -1)
    place[[4, 9]] = 0, 1
    found = fold_classes(tokens.reshape(360, 8), place[classes].reshape(-1), np.repeat(fold, 6),
                         1e-2, 30)
    truth = np.where(classes == 255, 255, place[classes]).reshape(-1)
    assert tally.score(tally.sums.sum(0)) == pytest.approx(parsing_iou([found], [truth], 2)['mIoU'])


def read_like(kind, values, groups, cameras=None):
    from clasp_mm.analysis.choose_prompt import Labels
    return Labels(kind, tuple(map(str, range(len(groups)))), values, groups, cameras)


def test_maps_are_probed_on_all_stages(backbone, people, tmp_path):
    """Class where it is bright: the first stage sees it, whatever the prompt."""
    stages = PCMoESwin(**{**{key: value for key, value in BACKBONE.items() if key != 'type'},
                          'out_indices': (0, 1)}).eval()
    stages.load_state_dict(backbone.state_dict())
    (tmp_path / 'maps').mkdir()
    for name in NAMES[:60]:
        bright = cv2.imread(str(people / name)).mean(2) > 127
        cv2.imwrite(str(tmp_path / 'maps' / name), np.where(bright, 7, 3).astype(np.uint8))
    labels = read_labels('maps', people, maps=tmp_path / 'maps')
    assert len(labels.paths) == 60  # the others have no map
    choice = choose_prompt(stages, labels, SIZE, resamples=100, progress=False)
    images = load_images(labels.paths, SIZE)
    truth = np.stack([read_map(path, SIZE, (8, 4)) for path in labels.values])
    with torch.no_grad():
        maps = stages(images, choice.best)
    raised = torch.cat([maps[0], torch.nn.functional.interpolate(maps[1], (8, 4),
                                                                 mode='bilinear')], 1)
    expected = linear_probe_segmentation(raised[::2], (truth[::2] == 7) * 1, raised[1::2],
                                         (truth[1::2] == 7) * 1, 2, l2=choice.l2)
    assert choice.ranking[0].score == pytest.approx(expected['mIoU'], abs=6)
    assert 60 < choice.ranking[0].score < 100


SMALL = dict(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4))


def make(arch=SMALL, **kwargs):
    """A backbone whose prompts matter."""
    torch.manual_seed(0)
    moe = dict(num_experts=3, top_k=2, expert_hidden=4)
    backbone = PCMoESwin(arch, moe={**moe, **kwargs.pop('moe', {})},
                         **{'out_indices': (3, ), 'window_size': 4, **kwargs}).eval()
    for name, parameter in backbone.named_parameters():
        if '.moe.' in name:
            torch.nn.init.normal_(parameter, std=.5)
    return backbone


@pytest.mark.parametrize('kwargs', [
    dict(out_indices=(0, 1, 2, 3)), dict(out_indices=(3, )), dict(out_indices=(0, 2)),
    dict(out_indices=(1, 3), moe=dict(stages=(1, 3))), dict(moe=dict(num_prompts=2)),
    dict(moe=dict(num_prompts=6)),
    dict(arch=dict(embed_dims=8, depths=(1, 1, 1), num_heads=(1, 2, 2)), strides=(4, 2, 2),
         out_indices=(0, 2))])
def test_features_are_those_of_a_pass(people, kwargs):
    backbone, paths = make(**kwargs), [str(people / name) for name in NAMES[:7]]
    images, tasks = load_readable(paths, SIZE)[0], prompt_candidates(backbone)
    found = prompt_features(backbone, images, tasks, batch_size=3, progress=False)
    for task, own in zip(tasks, found, strict=True):
        np.testing.assert_allclose(own, features_of(backbone, paths, task), atol=1e-5)
    assert len({own.tobytes() for own in found}) == len(tasks)  # no two tell it the same


def test_candidates_are_all_there_is():
    mixes = [('appearance', 'part'), ('appearance', 'attribute'), ('part', 'attribute'),
             ('appearance', 'part', 'attribute')]
    found = prompt_candidates(make())
    assert found == ['appearance', 'part', 'attribute', *mixes]
    two = prompt_candidates(make(moe=dict(num_prompts=2)))
    assert two == ['appearance', 'part', mixes[0], mixes[3]]  # a half, a third of appearance


@torch.no_grad()
def test_the_line_to_paste_builds_that_backbone():
    backbone, images = make(), torch.randn(2, 3, 32, 32)
    for one in prompt_candidates(backbone):
        config = Config.fromstring(f'task = {one!r}', '.py')
        other = make(task=config.task)
        other.load_state_dict(backbone.state_dict())
        torch.testing.assert_close(other(images)[0], backbone(images, one)[0])


def test_there_must_be_something_to_choose():
    with pytest.raises(ValueError, match='PCMoESwin has no PC-MoE: there is no prompt to choose'):
        prompt_candidates(PCMoESwin(SMALL, moe=None))
    with pytest.raises(ValueError, match='no PC-MoE in a stage that is computed'):
        prompt_candidates(make(moe=dict(stages=(3, )), out_indices=(1, )))


@torch.no_grad()
def features_of(backbone, paths, task):
    return backbone(load_images(paths, SIZE), task)[-1].mean((2, 3)).numpy()


@pytest.mark.parametrize('size, grid', [((64, 32), (11, 6)), ((256, 128), (11, 6)),
                                        ((512, 512), (8, 8)), ((32, 16), (8, 4))])
def test_tokens_are_about_64(size, grid):
    assert token_grid(size) == grid


def test_labels_of_market_names_and_of_sub_folders(tmp_path):
    names = ['0001_c1s1_000001_01.png', '0001_c2s1_000001_01.png', '-1_c1s1_000001_01.png',
             '0000_c1s1_000001_01.png', '0000_c3s1_000001_01.png']
    (tmp_path / 'market').mkdir()
    for name in names:
        cv2.imwrite(str(tmp_path / 'market' / name), np.zeros((4, 4, 3), np.uint8))
    labels = read_labels('identity', tmp_path / 'market')
    owner = dict(zip((path.rsplit('/', 1)[1] for path in labels.paths), labels.values,
                     strict=True))
    assert names[2] not in owner and owner[names[0]] == owner[names[1]] == 1
    assert owner[names[3]] == owner[names[4]] == NOBODY  # distractors are nobody's match
    assert len(set(labels.groups)) == 3 and labels.gaps() == [
        '2 of 4 images have no identity: they match nobody']
    assert sorted(labels.cameras) == [1, 1, 2, 3]

    for person in ('ann', 'bob'):
        (tmp_path / 'folders' / person).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(tmp_path / 'folders' / person / f'{i}.png'),
                        np.zeros((4, 4, 3), np.uint8))
    labels = read_labels('identity', tmp_path / 'folders')
    assert labels.values.tolist() == labels.groups.tolist() == [0, 0, 1, 1]
    labels = read_labels('classes', tmp_path / 'folders')
    assert labels.names == ('ann', 'bob') and labels.groups.tolist() == [0, 1, 2, 3]


def test_cells_that_are_empty_or_have_spaces(people, tmp_path):
    rows = [['a', 'ann', '0', '1'], ['b ', ' ann ', ' ', ' 0'], ['c', '', '1', '1'], ['d', ' ']]
    table = write_table(tmp_path / 't.csv', ['image ', ' identity', 'camera', 'hat'], rows)
    labels = read_labels('identity', people, table)
    assert labels.values.tolist() == [0, 0, NOBODY, NOBODY]
    assert labels.groups.tolist() == [0, 0, 1, 2]
    assert labels.cameras.tolist() == [0, NO_CAMERA, 1, NO_CAMERA]
    assert labels.paths[1] == str(people / 'b')
    assert labels.gaps() == ['2 of 4 images have no identity: they match nobody',
                             'the camera of 2 of 4 images is not known: it equals no other']
    labels = read_labels('attributes', people, table)
    assert labels.groups.tolist() == [0, 0, 1, 2] and labels.names == ('hat', )
    assert labels.values.ravel().tolist() == [1, 0, 1, -1]


def test_nobody_and_unknown_cameras_in_the_score():
    """Ten people of two images, one camera known among them, and a nobody nearer than either.

    Of each query nobody is first, its match second: AP = 1/2; nobody is no query.
    """
    angles = np.r_[np.arange(10) * 30., np.arange(10) * 30. + 2, np.arange(10) * 30. + 1]
    features = np.stack([np.cos(np.radians(angles)), np.sin(np.radians(angles))], 1)
    values = np.r_[np.arange(10), np.arange(10), np.full(10, NOBODY)]
    cameras = np.r_[0, np.full(29, NO_CAMERA)]
    groups = np.r_[np.arange(10), np.arange(10), np.arange(10, 20)]
    tally = make_score(read_like('identity', values, groups, cameras))(features, 0)
    assert tally.score(tally.sums.sum(0)) == 50.
    assert tally.sums[:, 1].tolist() == [2.] * 10 + [0.] * 10


def test_a_palette_is_read_as_class_numbers_at_the_middles_of_cells(tmp_path):
    from PIL import Image
    label = np.kron(np.array([[1, 2], [3, 255]], np.uint8), np.ones((6, 4), np.uint8))
    image = Image.fromarray(label, 'P')
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
    image.save(tmp_path / 'map.png')
    assert read_map(str(tmp_path / 'map.png'), (12, 8), (2, 2)).tolist() == [[1, 2], [3, 255]]
    assert read_map(str(tmp_path / 'map.png'), (12, 8), (4, 2))[:, 0].tolist() == [1, 1, 3, 3]
    with pytest.raises(ValueError, match=r'is \(12, 8\), its image \(13, 8\)'):
        read_map(str(tmp_path / 'map.png'), (13, 8), (2, 2))
    cv2.imwrite(str(tmp_path / 'colours.png'), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match='it has colours'):
        read_map(str(tmp_path / 'colours.png'), (4, 4), (2, 2))


@pytest.mark.parametrize('kind, columns, rows, words', [
    ('identity', ['image', 'person'], [['a', '1']], 'no column identity; it has image, person'),
    ('identity', ['image', 'identity'], [], 'has no row'),
    ('identity', ['image', 'identity', 'camera'], [['a', '1', '0'], ['b', '1', 'west']],
     r":3: camera 'west' is no number"),
    ('classes', ['image', 'class'], [['a', 'x'], ['b', ' ']], ':3: the class is empty'),
    ('attributes', ['image', 'hat'], [['a', 'yes']], r":2: hat is 'yes'; it must be 1, 0"),
    ('attributes', ['image', 'identity'], [['a', '1']], 'no column of an attribute'),
    ('classes', ['image', 'class'], [['a', 'x'], ['a', 'y']], ':3: a stands in line 2'),
])
def test_tables_that_are_wrong_are_told_where(people, tmp_path, kind, columns, rows, words):
    table = write_table(tmp_path / 't.csv', columns, rows)
    with pytest.raises(ValueError, match=words):
        read_labels(kind, people, table)


@pytest.mark.parametrize('kind, columns, row, words', [
    ('identity', ['image', 'identity'], lambda i: [i // 2],
     '9 of 9 people have a second image; an interval needs 10'),
    ('identity', ['image', 'identity', 'camera'], lambda i: [i // 2, i // 2],
     '0 of 9 people have images of two cameras'),
    ('attributes', ['image', 'hat'], lambda i: [int(i < 3)], 'none of 1 attributes has 4 images'),
    ('attributes', ['image', 'identity', 'hat'], lambda i: [max(0, i - 4), int(i < 5)],
     'none of 1 attributes has 4 images'),
    ('attributes', ['image', 'identity', 'hat'], lambda i: [i // 2, i % 2],
     '18 images of 9 people'),
    ('classes', ['image', 'class'], lambda i: ['xy'[i < 3]], r'not so y \(3\)'),
])
def test_too_few_labels(backbone, people, tmp_path, kind, columns, row, words):
    table = write_table(tmp_path / 't.csv', columns, [[NAMES[i], *row(i)] for i in range(18)])
    with pytest.raises(ValueError, match=words):
        choose_prompt(backbone, read_labels(kind, people, table), SIZE, progress=False)


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['choose_prompt.py', *map(str, arguments)])
    runpy.run_path(str(ROOT / 'tools/analysis/choose_prompt.py'), run_name='__main__')


def test_the_tool(people, tmp_path, monkeypatch, capsys):
    config = tmp_path / 'backbone.py'
    config.write_text(f'model = dict(backbone={BACKBONE!r})\n')
    (tmp_path / 'bad.png').write_bytes(b'broken')
    table = write_table(
        tmp_path / 'labels.csv', ['image', 'class'],
        [*([people / name, 'xy'[i % 2]] for i, name in enumerate(NAMES[:40])),
         [tmp_path / 'bad.png', 'x'], ['gone.png', 'y']])
    out = tmp_path / 'out/choose_prompt.json'
    call(monkeypatch, config, people, '--kind', 'classes', '--table', table, '--size', 32, 16,
         '--resamples', 50, '--out', out.parent, '--device', 'cpu')
    told = capsys.readouterr()
    assert 'bad.png: no known image format' in told.err and 'gone.png: the file' in told.err
    assert '2 of 42 images could not be read' in told.err
    result = json.loads(out.read_text())
    assert len(result['ranking']) == 7 and len(result['unreadable']) == 2
    assert f"task={result['ranking'][0]['task']!r}".replace('[', '(').replace(']', ')') in told.out
    scores = [row['score'] for row in result['ranking']]
    assert scores == sorted(scores, reverse=True)

    config.write_text(f'model = dict(backbone={dict(BACKBONE, moe=None)!r})\n')
    with pytest.raises(SystemExit, match='has no PC-MoE: there is no prompt to choose'):
        call(monkeypatch, config, people, '--kind', 'classes', '--table', table)
