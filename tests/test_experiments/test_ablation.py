"""The tables: their rows, what is refused, what is written."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from clasp_mm import cli
from clasp_mm.engine.jobs import Job, run_jobs
from clasp_mm.engine.provenance import code_digest
from clasp_mm.experiments.ablation import claims, page, run
from clasp_mm.experiments.ablation.page import write_table
from clasp_mm.experiments.ablation.run import Ablation
from clasp_mm.experiments.ablation.score import sums_file
from clasp_mm.experiments.ablation.tables import TABLES, quickstart_config
from clasp_mm.experiments.ablation.true_labels import write_true_labels
from clasp_mm.mini_clip.architecture import build_mini_clip, save_mini_clip
from clasp_mm.models.layers import TASKS
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.pseudo_labels.store import LabelStore, StoreWriter
from clasp_mm.pseudo_labels.vocabulary import LIP_TO_PART
from clasp_mm.registry import MODELS
from clasp_mm.synthetic import SyntheticPeople, load_ground_truth, write_people
from clasp_mm.utils.files import read_json, write_json
from clasp_mm.utils.resources import shipped_file
from tests.source_tree import ROOT
from tests.test_experiments.test_claims import alike


def test_every_ablation_config_is_a_row_and_every_row_a_config():
    files = {path.name for path in shipped_file('configs/ablations').glob('*.py')}
    named = {row.config.rsplit('/', 1)[1] for rows in TABLES.values() for row in rows
             if row.config and '/ablations/' in row.config}
    assert named == files


@pytest.mark.parametrize('table', TABLES)
def test_rows_of_a_table_are_apart_and_keep_the_quickstarts_data_and_schedule(table):
    texts = {}
    for row in TABLES[table]:
        if row.config:
            cfg = quickstart_config(row)
            texts[row.key] = f'{cfg.pretty_text} {row.true_labels}'
            assert cfg.model.backbone.arch == 'nano'
            assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (7, 32)
    assert len(set(texts.values())) == len({row.key for row in TABLES[table]} - {'random'})


def test_scores_of_other_code_or_without_their_sums_are_made_anew(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(run, 'run_jobs', lambda jobs, parallel: asked.append(len(jobs)))
    ablation = Ablation('systems', tmp_path, seeds=1)
    ablation.rows = ablation.rows[:1]  # random weights, which need no training

    def score(**changes):
        ablation.score({})
        file = ablation.result_file(ablation.rows[0], 0)
        write_json(file, dict(job=read_json(file.with_suffix('.job')) | changes))
        sums_file(file).touch()

    score(code='abc')
    score()
    score()
    sums_file(ablation.result_file(ablation.rows[0], 0)).unlink()
    score()
    assert asked == [1, 1, 0, 1]


def job(folder, name, seconds=.3):
    code = (f'import time; open(r"{folder}/{name}.start", "w").write(str(time.time())); '
            f'time.sleep({seconds}); open(r"{folder}/{name}.end", "w").write(str(time.time()))')
    return Job(name, [sys.executable, '-c', code], folder / f'{name}.log')


def test_no_more_jobs_run_at_a_time_than_said(tmp_path):
    names = [f'job{i}' for i in range(5)]
    usage = run_jobs([job(tmp_path, name) for name in names], parallel=2)
    assert list(usage) and set(usage) == set(names)
    spans = [tuple(float((tmp_path / f'{name}.{end}').read_text()) for end in ('start', 'end'))
             for name in names]
    for start, _ in spans:
        assert sum(begin <= start < end for begin, end in spans) <= 2


def test_a_folder_of_other_data_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run.Quickstart, 'make_data', lambda self: pytest.fail('went on'))
    Ablation('I', tmp_path, identities=24).check_settings()
    with pytest.raises(ValueError, match=r'begun with identities=24, and is asked to go on with '
                       r'identities=32: name another --out$'):
        Ablation('I', tmp_path, identities=32).run()


def test_a_folder_of_other_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run.Quickstart, 'make_data', lambda self: pytest.fail('went on'))
    ablation = Ablation('I', tmp_path)
    with monkeypatch.context() as other:
        other.setattr(run, 'code_digest', lambda rooms: 'abc')
        ablation.check_settings()
    with pytest.raises(ValueError, match=r'begun with code=abc, and is .* code=\w{12}: name '
                       r'another --out, or go back to the code of .*git\.json'):
        ablation.run()


def test_the_digest_of_code_follows_every_file_of_its_rooms_alone(tmp_path, monkeypatch):
    module = tmp_path / 'clasp_mm' / 'engine' / 'provenance.py'
    for name in ('engine/provenance.py', 'models/a.py', 'cli/b.py'):
        (tmp_path / 'clasp_mm' / name).parent.mkdir(parents=True)
        (tmp_path / 'clasp_mm' / name).write_text('1')
    monkeypatch.setattr('clasp_mm.engine.provenance.__file__', str(module))
    first = code_digest(['models'])
    (tmp_path / 'clasp_mm/cli/b.py').write_text('2')
    assert code_digest(['models']) == first != code_digest(['models', 'cli'])
    (tmp_path / 'clasp_mm/models/a.py').write_text('2')
    assert code_digest(['models']) != first


@pytest.mark.parametrize('budget', run.BUDGETS)
def test_a_budget_sizes_crops_maps_and_steps_of_every_row(tmp_path, budget):
    ablation = Ablation('systems', tmp_path, budget=budget)
    own = ablation.budget
    stages = [ablation.quickstart.stage1(0), *(
        ablation.quickstart.prepare(tmp_path / row.key, ablation.configs[row.key], 0,
                                    ablation.quickstart.stage1(0))
        for row in TABLES['systems'] if row.config)]
    steps = [one.epochs * own.identities * 8 // one.cfg.train_dataloader.batch_size
             for one in stages]
    assert steps == {'quickstart': [768] + 4 * [448], 'long': [4000] + 4 * [2000]}[budget]
    for one in stages:
        crop, = (step for step in one.cfg.train_dataloader.dataset.pipeline
                 if step.type == 'clasp_mm.MultiCrop')
        assert (tuple(crop.global_size), tuple(crop.map_size)) == (
            own.size, (own.size[0] // 4, own.size[1] // 4))
    kept = stages[0].cfg.default_hooks.checkpoint.max_keep_ckpts
    assert kept == (-1 if own.teachers else 2)


def test_heads_fit_a_larger_swin(tmp_path):
    """Tiny has 96, 192, 384 and 768 channels; parts are read from the map of stage 2."""
    ablation = Ablation('systems', tmp_path, budget='long', arch='tiny', size=(256, 128))
    assert ablation.budget[4:6] == ((256, 128), 'tiny')
    widths = dict(head=768, part_head=192, attr_head=768)
    cfgs = [ablation.quickstart.stage1(0).cfg, *(
        ablation.quickstart.prepare(tmp_path / row.key, ablation.configs[row.key], 0,
                                    ablation.quickstart.stage1(0)).cfg
        for row in TABLES['systems'] if row.config)]
    for cfg in cfgs:
        heads = {name: head['in_channels'] for name, head in cfg.model.items()
                 if name in widths and head}
        assert heads == {name: widths[name] for name in heads} and cfg.model.backbone.arch == 'tiny'
    maps = MODELS.build(cfgs[-1].model.backbone)(torch.zeros(1, 3, 64, 32), 'part')
    assert [one.shape[1] for one in maps] == [192, 768]


def test_a_shorter_stage_has_the_teachers_it_has(tmp_path):
    own = Ablation('systems', tmp_path, budget='long', epochs=(2, 2), held_out=16).budget
    assert own[:4] == (2000, 16, 384, (2, 2)) and own.teachers == (1,)


def test_a_row_begun_with_another_config_is_refused_and_left_alone(tmp_path):
    ablation = Ablation('systems', tmp_path)
    row = next(row for row in TABLES['systems'] if row.title == 'SOLIDER')
    training = ablation.training(row, 0)
    training.job()  # writes the folder
    kept = training.folder / 'epoch_3.pth'
    kept.write_bytes(b'hours of work')
    assert not ablation.training(row, 0).is_done()  # the same config: goes on
    ablation.configs[row.key].model.part_weight = .5
    with pytest.raises(ValueError, match=r'model\.part_weight: 0\.5, not 1\.0.*delete the folder'):
        ablation.training(row, 0)
    assert kept.read_bytes() == b'hours of work'


def test_a_row_reads_the_same_labels_in_every_table(tmp_path, monkeypatch):
    stores = {}
    monkeypatch.setattr(run.Quickstart, 'labeler', lambda self, stage1, **settings: settings)
    monkeypatch.setattr(run.Quickstart, 'label', lambda self, folder, labeler: [
        folder / str(labeler)])
    for table in TABLES:
        ablation = Ablation(table, tmp_path)
        for row in TABLES[table]:
            if row.config and run.uses_labels(cfg := ablation.configs[row.key]):
                stores.setdefault(row.key, set()).add(str(ablation.label(cfg, 0)))
                asked = cfg.train_dataloader.dataset.pipeline[0].cluster_numbers
                assert set(asked) <= set(run.label_numbers(cfg))
    assert all(len(names) == 1 for names in stores.values())
    assert stores['full'] == stores['table1_b_sg'] != stores['table4_var1_s234']


def interrupt(*_):
    raise KeyboardInterrupt


def test_true_labels_are_those_of_the_drawing(tmp_path, monkeypatch):
    write_people(tmp_path / 'people', SyntheticPeople(3, 2, seed=5, size=(64, 32)), workers=1,
                 progress=False)
    truth = load_ground_truth(tmp_path / 'people')
    settings = LabelSettings(cluster_numbers=(2, 3))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StoreWriter, 'finish', interrupt)
        write_true_labels(truth, tmp_path / 'store', settings, (16, 8))
    for _ in range(2):  # the first finds all rows done, the second the store
        write_true_labels(truth, tmp_path / 'store', settings, (16, 8))
    store = LabelStore(tmp_path / 'store')
    labels = store.read([store.row_of(name) for name in truth.names.tolist()])
    assert (labels.attr_value == truth.attributes).all() and (labels.attr_conf == 1).all()
    assert labels.accepted(.99, .99).all()
    table = np.array(LIP_TO_PART)
    for image in range(6):
        parts = table[truth.parsing(image)][2::4, 2::4].reshape(-1)  # the cells' centres
        areas = sorted(((parts == part).sum() for part in set(parts) - {0}), reverse=True)
        for which, columns in ((0, [0, 1]), (1, [2, 3, 4])):
            regions = labels.regions[image, which]
            for region, column in enumerate(columns, 1):
                part, tokens = labels.region_label[image, column], regions == region
                assert (tokens == (parts == part)).all() and part > 0
                assert tokens.sum() == areas[region - 1]
                assert labels.region_conf[image, column] == 1


def test_a_row_of_true_labels_reads_them(tmp_path, monkeypatch):
    monkeypatch.setattr(run, 'load_ground_truth', lambda folder: folder)
    monkeypatch.setattr(run, 'write_true_labels', lambda truth, store, settings, grid: (
        written.append((truth, store.name, settings.cluster_numbers, grid))))
    monkeypatch.setattr(run.Quickstart, 'labeler', lambda self, stage1, **settings: None)
    monkeypatch.setattr(run.Quickstart, 'label', lambda self, folder, *_: [folder / 'clip'])
    written, stores = [], {}
    ablation = Ablation('labels', tmp_path)
    for row in TABLES['labels']:
        cfg = ablation.training(row, 1).cfg
        stores[row.title] = Path(cfg.train_dataloader.dataset.pipeline[0].store)
    assert [path.name for path in stores.values()] == ['clip', 'true_labels-345'] * 2
    assert written == [(tmp_path / 'data' / 'train', 'true_labels-345', (3, 4, 5), (32, 16))] * 2
    assert {path.parent for path in stores.values()} == {tmp_path, tmp_path / 'seed1'}


def result(shift, ead=None):
    scores = {key: 10. + shift for key in ('mAP', 'rank1', 'mA', 'mIoU', 'PCK', 'det AP',
                                           'search mAP', 'HM')}
    return dict(scores=scores, gcr=None if ead is None else .25, ead=ead, gcr_of=None,
                expert_use=None if ead is None else [[[.6, .4, 0]], [[.8, .2, 0]]],
                parameters=1_500_000, step_seconds=None if ead is None else .1 + shift / 10,
                under_prompt={} if ead is None else {
                    task: {key: at + shift for key in scores} for at, task in enumerate(TASKS)})


def test_the_table_has_mean_and_spread_and_a_line_a_seed(tmp_path):
    rows = ({title: [result(0), result(1)] for title in claims.SYSTEMS[:2]}
            | {title: [result(0, .1), result(1, .1)] for title in claims.SYSTEMS[2:4]}
            | {'CLASP': [result(2, .5), result(4, .7)]})
    text = write_table(dict(
        table='systems', budget='quickstart', seeds=2, identities=256, epochs=None, rows=rows,
        sums=alike(rows),
        labels=[dict(seed=seed, epoch=epoch, foreground_iou=.5, mean_iou=.1 + seed / 10, kept=1,
                     kept_accuracy=None, balanced_accuracy=.6) for seed in (0, 1)
                for epoch in (1, 8)]), tmp_path)
    assert '| random weights | 10.5 ± 0.7 |' in text
    assert '| - | - | - | - | 1.50 ± 0.00 | - |' in text
    assert '| 8 | 50.0 ± 0.0 | 15.0 ± 7.1 | 100.0 ± 0.0 | - | 60.0 ± 0.0 |' in text
    assert '| CLASP has the highest HM (Table XI) | not decided | HM over DINO +2.50 (' in text
    assert ('| 0.25 ± 0.00 | 0.60 ± 0.14 | 70 ± 0 | 33 ± 0 | 1.50 ± 0.00 | 400 ± 141 |' in text)
    assert '| re-id mAP | 3.0 ± 1.4 | 4.0 ± 1.4 | 5.0 ± 1.4 | appearance: 13.0 ± 1.4 |' in text
    assert (tmp_path / 'systems.md').read_text() == text
    rows = list(csv.DictReader((tmp_path / 'systems.csv').open()))
    found = [(row['row'], row['seed'], row['mAP'], row['ead']) for row in rows]
    assert found[:2] == [('random weights', '0', '10.0', ''), ('random weights', '1', '11.0', '')]
    assert found[-2:] == [('CLASP', '0', '12.0', '0.5'), ('CLASP', '1', '14.0', '0.7')]
    assert (tmp_path / 'systems.png').stat().st_size > 10_000


def test_one_call_makes_several_tables_in_the_order_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Ablation, 'run', lambda self: self)
    monkeypatch.setattr(page, 'write_table', lambda ablation, folder: (
        f'{ablation.table} {len(ablation.seeds)} {ablation.dir} {folder}'))
    cli.main(['ablation', '--table', 'II', 'I', '--seeds', '2', '--out', str(tmp_path)])
    assert capsys.readouterr().out == ''.join(
        f'{table} 2 {tmp_path} {tmp_path}\n' for table in ('II', 'I'))


@pytest.mark.slow
def test_a_table_from_nothing_resumes_and_is_left_alone_when_done(tmp_path):
    command = [sys.executable, str(ROOT / 'tools/run_ablation.py'), '--table', 'systems', '--seeds',
               '1', '--identities', '16', '--epochs', '2', '2', '--out', str(tmp_path)]
    first = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert first.returncode == 0, first.stderr[-2000:]
    table = (tmp_path / 'systems.md').read_text()
    assert table.count('\n| ') >= 5 and 'CLASP, every task under every prompt' in table
    assert table.count('| not decided |') == len(claims.CLAIMS)  # by one seed
    made = {path: path.stat().st_mtime for path in tmp_path.glob('seed0/*/epoch_2.pth')}
    (tmp_path / 'results' / 'full-seed0.json').unlink()
    start = time.time()
    again = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert again.returncode == 0 and '1 scorings' in again.stdout
    assert {path: path.stat().st_mtime for path in made} == made
    assert (tmp_path / 'systems.md').read_text() == table
    assert (tmp_path / 'results' / 'full-seed0.json').stat().st_mtime > start


@pytest.mark.slow
def test_a_budget_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    """The long one's crops and teachers, on a handful of images."""
    monkeypatch.setitem(run.TABLES, 'toy', (TABLES['systems'][0], TABLES['systems'][-1]))
    monkeypatch.setitem(run.BUDGETS, 'toy', run.Budget(
        4, held_out=8, scenes=8, epochs=(2, 2), size=(128, 64), batches=1, teachers=(1,)))
    save_mini_clip(build_mini_clip(), tmp_path / 'mini_clip')
    ablation = Ablation('toy', tmp_path, budget='toy', seeds=1)
    with monkeypatch.context() as stopped:
        stopped.setattr(Ablation, 'score', lambda self, trainings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ablation.run()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob('seed0/*/epoch_2.pth')}
    assert len(made) == 2
    results = ablation.run()
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert [(one['seed'], one['epoch']) for one in results['labels']] == [(0, 1), (0, 2)]
    assert '| epochs of the teacher |' in write_table(results, tmp_path)
    jobs = [read_json(file)['job'] for file in (tmp_path / 'results').glob('*.json')]
    assert [(job['size'], job['batches']) for job in jobs] == [([128, 64], 1)] * 2
