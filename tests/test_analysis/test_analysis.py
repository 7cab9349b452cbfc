"""Pictures and tables of a model's features and experts, and the page that gathers them."""

import base64
import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clasp_mm.analysis.branching import Branched
from clasp_mm.analysis.choose_prompt import features as choose_features
from clasp_mm.analysis.expert_use import ead_table, expert_use, find_images, summarize_use
from clasp_mm.analysis.run import analyse_run, input_size
from clasp_mm.analysis.tsne import (
    PART_NAMES,
    agreement_table,
    embed_2d,
    gather_features,
    neighbour_agreement,
    part_means,
    tsne_figures,
)
from clasp_mm.datasets.images import read_image, resize_images
from clasp_mm.datasets.inputs import MEAN, STD, load_images
from clasp_mm.engine.run_report import write_run_report
from clasp_mm.evaluation.frozen import people as people_scores
from clasp_mm.evaluation.frozen import tasks as task_scores
from clasp_mm.models import PCMoESwin
from clasp_mm.models.layers import TASKS
from clasp_mm.pseudo_labels.vocabulary import LIP_TO_PART
from clasp_mm.synthetic import SyntheticPeople, load_ground_truth, write_people
from clasp_mm.visualization.analysis import draw_embeddings
from clasp_mm.visualization.analysis_page import read_analyses
from clasp_mm.zoo.get_model import get_model
from tests.oracles import conflict as conflict_oracle
from tests.oracles import embedding as oracle
from tests.source_tree import ROOT
from tests.test_analysis.test_task_conflict import system  # noqa: F401
from tests.test_engine.test_teacher_hook import people  # noqa: F401

SIZE = (64, 32)
TINY = dict(arch=dict(embed_dims=8, depths=(1, 1), num_heads=(1, 2)), strides=(4, 2),
            window_size=4, out_indices=(0, 1))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('people')
    write_people(folder, SyntheticPeople(4, 3, seed=5, size=SIZE), workers=1, progress=False)
    return folder


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    model = PCMoESwin(**TINY, moe=dict(num_experts=4, top_k=2)).eval()
    for name, parameter in model.named_parameters():
        if '.moe.' in name:
            torch.nn.init.normal_(parameter, std=.3)
    return model


def test_part_means_are_the_oracle_s_and_unseen_parts_have_none():
    maps, parts = torch.randn(2, 3, 4, 2), torch.randint(0, 4, (2, 8, 6))
    parts[1][parts[1] == 2] = 0
    found = part_means(maps, parts, 3)
    for image in range(2):
        for part in (1, 2, 3):
            expected = oracle.part_mean(maps[image], parts[image], part)
            mean = found[image, part - 1]
            assert torch.isnan(mean).all() if expected is None else torch.allclose(
                mean, torch.tensor(expected), atol=1e-6)
    assert torch.isnan(found[1, 1]).all() and not torch.isnan(found[1, 0]).any()


def test_agreement_of_neighbours_is_the_oracle_s():
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(20, 2)), rng.choice(list('abc'), 20)
    for k in (1, 5):
        assert neighbour_agreement(points, labels, k) == pytest.approx(
            oracle.neighbour_agreement(points.tolist(), labels.tolist(), k))
    apart = points + 100 * np.unique(labels, return_inverse=True)[1][:, None]
    assert neighbour_agreement(apart, labels, 2) == 1


@pytest.mark.parametrize('features', [
    lambda model, truth, paths: choose_features.prompt_features(
        model, torch.cat([resize_images([read_image(path)], SIZE) for path in paths]), ['part'],
        progress=False)[0],
    lambda model, truth, paths: gather_features(
        model, truth, np.arange(len(paths)), SIZE)['part']['whole'],
    lambda model, truth, paths: expert_use(model, find_images(truth.root), range(12), SIZE)['part'],
    lambda model, truth, paths: people_scores.pooled_features(model, paths, SIZE, 'part'),
    lambda model, truth, paths: people_scores.pooled_features(
        Branched(model, 1), paths, SIZE, 'part'),
    lambda model, truth, paths: task_scores.crop_features(
        model, paths[0], np.array([[0, 0, 20, 40.]]), SIZE, 'part')])
def test_analyses_normalise_as_the_backbone_was_trained(backbone, folder, monkeypatch, features):
    truth, seen = load_ground_truth(folder), []
    paths = [str(truth.root / name) for name in truth.names]
    embed = backbone.embed
    monkeypatch.setattr(backbone, 'embed', lambda x: seen.append(x.clone()) or embed(x))
    features(backbone, truth, paths)
    default = seen.pop(0)
    backbone.mean, backbone.std = (0., 0., 0.), (1., 2., 4.)
    seen.clear()
    features(backbone, truth, paths)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    expected = (default * std + mean) / torch.tensor([1., 2., 4.])[:, None, None]
    np.testing.assert_allclose(seen[0], expected, atol=1e-3)


def test_the_embedding_keeps_directions_apart_and_repeats():
    rng = np.random.default_rng(1)
    directions = np.repeat(np.eye(3, 8), 10, axis=0) + .05 * rng.normal(size=(30, 8))
    features = directions * rng.uniform(1, 50, (30, 1))  # lengths say nothing
    points = embed_2d(features)
    assert neighbour_agreement(points, np.repeat(np.arange(3), 10)) == 1
    np.testing.assert_array_equal(points, embed_2d(features))


def test_features_are_those_of_each_prompt_and_labels_those_of_the_image(backbone, folder):
    truth = load_ground_truth(folder)
    index = np.array([1, 7])
    found = gather_features(backbone, truth, index, SIZE)
    images = load_images([truth.root / truth.names[i] for i in index], SIZE)
    parts = torch.from_numpy(np.asarray(LIP_TO_PART)[np.stack([truth.parsing(i) for i in index])])
    with torch.no_grad():
        for task in TASKS:
            maps = backbone(images, task)
            np.testing.assert_allclose(found[task]['whole'], maps[-1].mean((2, 3)), atol=1e-5)
            np.testing.assert_allclose(found[task]['part'],
                                       part_means(maps[0], parts, len(PART_NAMES)), atol=1e-5)
    figures = tsne_figures(backbone, truth, SIZE, people=4)
    whole, part = figures['whole'], figures['part']
    assert whole['labels']['identity'].tolist() == [f'{i:03d}' for i in truth.identity]
    assert len(part['labels']['part']) == 3 * len(truth.names) == len(part['points']['part'])
    assert whole['agreement']['part']['identity'] == neighbour_agreement(
        whole['points']['part'], truth.identity)
    table = agreement_table({name: figure['agreement'] for name, figure in figures.items()})
    assert len(table.splitlines()) == 2 + 2 * len(TASKS)
    assert f'{whole["agreement"]["part"]["identity"]:.3f}' in table


def test_what_cannot_be_drawn_is_named(backbone, folder):
    truth = load_ground_truth(folder)
    with pytest.raises(ValueError, match='at least two people'):
        tsne_figures(backbone, truth, SIZE, people=1)
    with pytest.raises(ValueError, match='2 people have 4 images'):
        tsne_figures(backbone, replace(truth, identity=np.array([0, 0, 1, 1])), SIZE)
    plain = PCMoESwin(**TINY, moe=None).eval()
    with pytest.raises(ValueError, match='no prompts to compare'):
        tsne_figures(plain, truth, SIZE)
    with pytest.raises(ValueError, match='no experts'):
        expert_use(plain, find_images(folder), [0], SIZE)
    with pytest.raises(ValueError, match='no image'):
        expert_use(backbone, find_images(folder), [], SIZE)


def test_the_picture_colours_by_the_labels():
    points = {'part': np.arange(8.).reshape(4, 2)}
    one, other = (draw_embeddings(points, {'of': list(names)}, 't') for names in ('aabb', 'abab'))
    assert one.shape == other.shape and (one != other).any()


def test_many_names_have_no_legend():
    def draw(number):
        names = [str(i) for i in range(number)] * 2
        return draw_embeddings({'part': np.zeros((2 * number, 2))}, {'of': names}, 't')

    def size_of_axes(picture):  # its frame is the longest black line
        return (picture.max(-1) < 60).sum(1).max(), (picture.max(-1) < 60).sum(0).max()

    assert size_of_axes(draw(200)) >= size_of_axes(draw(2))


def test_expert_use_is_the_mean_gate_of_each_prompt(backbone, folder):
    source = find_images(folder)
    paths = [folder / name for name in source.names]
    assert len(paths) == 12 and not any('parsing' in name for name in source.names)
    use = expert_use(backbone, source, range(12), SIZE)
    assert list(use) == list(TASKS)
    with torch.no_grad():
        for task, gates in use.items():
            one_by_one = [backbone.from_embed(backbone.embed(load_images([path], SIZE)), task)[1]
                          for path in paths]
            for stage, mean in enumerate(gates):
                expected = sum(found[stage].gates[0] for found in one_by_one) / len(paths)
                np.testing.assert_allclose(mean, expected, rtol=1e-4)


def test_divergence_of_each_pair_and_stage_is_the_oracle_s():
    use = {task: np.random.default_rng(i).random((2, 5)) for i, task in enumerate(TASKS)}
    summary = summarize_use(use)
    assert summary['ead'] == pytest.approx(conflict_oracle.ead(list(summary['use'].values())))
    for pair, values in summary['ead_of'].items():
        a, b = pair.split(' / ')
        assert values == pytest.approx([conflict_oracle.divergence(*gates) for gates in
                                        zip(use[a].tolist(), use[b].tolist(), strict=True)])
    assert ead_table(summary).splitlines()[-1].endswith(f'| {summary["ead"]:.3f} |')


@pytest.mark.parametrize('name, pictures', [
    ('expert_use', ['expert_use']), ('t-SNE', ['t-SNE_part', 't-SNE_whole'])])
def test_the_tools_write_table_picture_and_data(name, pictures, folder, tmp_path, monkeypatch,
                                                capsys):
    config = next((ROOT / 'configs/quickstart').glob('clasp_*_synthetic-64x32.py'))
    tool = name.replace('-', '').lower()
    more = ['--number', '4'] if tool == 'tsne' else ['--images', '5']
    torch.manual_seed(0)
    monkeypatch.setattr(sys, 'argv', [tool, str(config), str(folder), '--size', '64', '32',
                                      '--out', str(tmp_path / 'out'), *more])
    runpy.run_path(str(ROOT / 'tools/analysis' / f'{tool}.py'), run_name='__main__')
    written = {path.name for path in (tmp_path / 'out').iterdir()}
    assert written == {f'{name}.json', f'{name}.md', *(f'{one}.png' for one in pictures)}
    assert (tmp_path / 'out' / f'{name}.md').read_text().strip() in capsys.readouterr().out
    if tool == 'expert_use':
        data = json.loads((tmp_path / 'out/expert_use.json').read_text())
        torch.manual_seed(0)
        expected = expert_use(get_model(config), find_images(folder), [0, 3, 6, 8, 11], SIZE)
        assert data['use']['part'] == pytest.approx(expected['part'])


def test_the_page_has_the_tables_and_pictures_of_a_folder(tmp_path):
    assert read_analyses(tmp_path / 'none') == {}
    (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "loss": 2.0}\n')
    analyses = tmp_path / 'analysis'
    analyses.mkdir()
    (analyses / 't-SNE.md').write_text('Shares.\n\n| a | b |\n|---|---|\n| <x> | 1.5 |\n')
    for name in ('t-SNE_part', 'other'):
        (analyses / f'{name}.png').write_bytes(name.encode())
    page = write_run_report(tmp_path).read_text()
    assert page.index('<h2>t-SNE<') < page.index('&lt;x&gt;') < page.index('alt="t-SNE_part"')
    assert '<h2>Other' in page and page.count('<h2>') == 5
    assert base64.b64encode(b't-SNE_part').decode() in page


def test_a_run_is_analysed_into_its_page(system, folder, tmp_path):  # noqa: F811
    run = tmp_path / 'run'
    run.mkdir()
    shutil.move(system.config, run)
    shutil.move(system.checkpoint, run / 'epoch_1.pth')
    (run / 'last_checkpoint').write_text('/where/the/run/was/epoch_1.pth')
    (run / 'metrics.jsonl').write_text('{"step": 1, "loss": 2.0}\n')
    done = analyse_run(run, folder, batches=1)
    page = (run / 'report.html').read_text()
    assert set(done) == {'task conflict', 'expert use', 't-SNE'}
    for name in ('task_conflict', 'expert_use', 't-SNE_part', 't-SNE_whole'):
        assert base64.b64encode((run / f'analysis/{name}.png').read_bytes()).decode() in page
    ead = json.loads((run / 'analysis/expert_use.json').read_text())['ead']
    assert f'<td>{ead:.3f}</td>' in page
    assert 'src="http' not in page and '<script' not in page
    (run / 'epoch_1.pth').unlink()
    with pytest.raises(FileNotFoundError, match='no checkpoint in'):
        analyse_run(run, folder)


def test_the_size_is_that_of_the_global_crops():
    from mmengine.config import Config
    config = next(Path(ROOT, 'configs/quickstart').glob('clasp_*_synthetic-64x32.py'))
    assert input_size(Config.fromfile(config)) == SIZE
    assert input_size(Config(dict(model=dict(type='x')))) == (256, 128)
