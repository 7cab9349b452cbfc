"""The mini CLIP: what it is trained on, that it learns, and that open_clip reads the result."""

import dataclasses
import io
import json

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F

from clasp_mm import mini_clip
from clasp_mm.mini_clip import architecture, batches, objectives, people, region_draw, train
from clasp_mm.mini_clip.evaluate import evaluate_mini_clip, judge_attribute, name_regions
from clasp_mm.mini_clip.optimizers import Optimizers
from clasp_mm.pseudo_labels.clip_model import CLIPModel, build_clip
from clasp_mm.pseudo_labels.text_bank import TextBank
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, LIP_TO_PART
from clasp_mm.synthetic import LIP_CLASSES, SyntheticPeople
from clasp_mm.utils import device

MICRO = dict(
    embed_dim=32,
    vision_cfg=dict(layers=[1, 1, 1, 1], width=8, head_width=16, image_size=32),
    text_cfg=dict(context_length=32, vocab_size=49408, width=32, heads=2, layers=1),
    init_logit_scale=architecture.ARCHITECTURE['init_logit_scale'])
NUM_PARTS = len(DEFAULT_VOCABULARY.parts)


@pytest.fixture(scope='module')
def few():
    return people.draw_people(16, seed=5, split='train', size=(32, 32))


@pytest.fixture(scope='module')
def big():
    return people.draw_people(12, seed=5, split='heldout', size=people.CROP)


def micro_objective(seed=0):
    torch.manual_seed(seed)
    return objectives.Objective(MICRO, DEFAULT_VOCABULARY)


def micro_training(out_dir, **changes):
    options = dict(num_people=8, num_heldout=2, steps=1, batch_size=8, architecture=MICRO,
                   workers=0, progress=False)
    return mini_clip.train_mini_clip(out_dir, **{**options, **changes})


# --- data ---------------------------------------------------------------------------------------


def test_people_are_the_generators(big):
    assert len(big) == 12 and len(big.facts) == 12
    seed = people.block_seed(5, 'heldout', 0)
    drawn = SyntheticPeople(48, 1, seed)
    for number in (0, 7):
        record = drawn[4 * number]
        assert np.array_equal(big.images[number].permute(1, 2, 0).numpy(), record.image)
        assert np.array_equal(big.parsing[number].numpy(), record.parsing)
        for index, attribute in enumerate(DEFAULT_VOCABULARY.attributes):
            value = attribute.values[big.attributes[number, index]]
            assert value == record.attributes[attribute.name] == big.facts[number][attribute.name]


def test_small_people_are_squashed_big_ones(big):
    small = people.draw_people(12, seed=5, split='heldout', size=(64, 64))
    reference = F.interpolate(big.images.float(), (64, 64), mode='bicubic', antialias=True)
    assert (small.images.float() - reference.clamp(0, 255)).abs().max() <= .51
    assert torch.equal(small.parsing, big.parsing[:, 2::4, 1::2])
    assert small.facts == big.facts


def test_no_seed_is_shared_between_splits_blocks_and_data_sets():
    seeds = {people.block_seed(seed, split, block)
             for seed in range(20) for split in people.SPLITS for block in range(40)}
    assert len(seeds) == 20 * 2 * 40
    assert min(seeds) >= 2 ** 31 and max(seeds) < 2 ** 32


@pytest.mark.slow
def test_people_do_not_depend_on_the_number_of_processes():
    alone = people.draw_people(140, seed=1, split='train', size=(16, 16))
    spread = people.draw_people(140, seed=1, split='train', size=(16, 16), workers=2)
    assert alone.facts == spread.facts
    for name in ('images', 'parsing', 'attributes', 'scenes'):
        assert torch.equal(getattr(alone, name), getattr(spread, name))


def test_another_vocabulary_is_refused_but_other_texts_are_not():
    spec = DEFAULT_VOCABULARY.to_dict()
    spec['parts'][0]['name'] = 'helmet'
    with pytest.raises(ValueError, match='helmet'):
        people.draw_people(1, seed=0, split='train', size=(32, 32),
                           vocabulary=type(DEFAULT_VOCABULARY).from_dict(spec))
    other = dataclasses.replace(DEFAULT_VOCABULARY, part_templates=('{}',))
    assert len(people.draw_people(1, seed=0, split='train', size=(32, 32), vocabulary=other)) == 1


def test_part_labels_follow_the_table():
    assert people.part_labels(torch.arange(20)).tolist() == list(LIP_TO_PART)


def test_augmentation_moves_classes_with_their_pixels_and_swaps_sides():
    """Each class is drawn in a colour of its own, which light and tint cannot confuse."""
    generator = torch.Generator().manual_seed(0)
    colour = torch.tensor([[r, g, b] for r in (60, 120, 180) for g in (60, 120, 180)
                           for b in (60, 120, 180)][:20])
    classes = torch.randint(20, (12, 8, 8), generator=generator)
    classes = classes.repeat_interleave(4, 1).repeat_interleave(4, 2)
    images = colour[classes].permute(0, 3, 1, 2).byte()
    moved, parsing = batches.augment(images, classes.byte(), generator)
    mirrored = 0
    for image, labels, before in zip(moved, parsing, classes, strict=True):
        seen = {label: image[:, labels == label] for label in labels.unique().tolist()}
        assert all((pixels - pixels[:, :1]).abs().max() < 1e-6 for pixels in seen.values())
        mean = torch.stack([seen[label][:, 0] for label in seen])
        plain = torch.cdist(mean, mean) + torch.eye(len(mean))
        assert plain.min() > .05
        centre = labels[12:20, 12:20]
        shifts = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)]
        same = any(torch.equal(centre, before[12 + dy:20 + dy, 12 + dx:20 + dx])
                   for dy, dx in shifts)
        swapped = torch.tensor([LIP_CLASSES.index(
            {'Left': 'Right', 'Right': 'Left'}[name[:-4]] + name[-4:] if name[-4:] == '-arm' else
            {'Left': 'Right', 'Right': 'Left'}[name[:-4]] + name[-4:] if name[-4:] == '-leg' else
            {'Left': 'Right', 'Right': 'Left'}[name[:-5]] + name[-5:] if name[-5:] == '-shoe' else
            name) for name in LIP_CLASSES])[before.flip(1)]
        other = any(torch.equal(centre, swapped[12 + dy:20 + dy, 12 + dx:20 + dx])
                    for dy, dx in shifts)
        assert same != other
        mirrored += other
    assert 0 < mirrored < 12


def test_shares_count_person_pixels():
    generator = torch.Generator().manual_seed(0)
    parts = torch.randint(0, 4, (5, 6, 7), generator=generator)
    masks = torch.rand(5, 6, 7, generator=generator) < .3
    masks[3] = False
    shares = region_draw.part_shares(masks, parts, 3)
    for mask, labels, row in zip(masks, parts, shares, strict=True):
        inside = [label for label in labels[mask].tolist() if label]
        expected = [inside.count(part) / max(len(inside), 1) for part in (1, 2, 3)]
        assert row.tolist() == pytest.approx(expected)
    assert shares[3].sum() == 0


def test_exact_regions_are_parts_each_as_likely(big):
    generator = torch.Generator().manual_seed(0)
    parts = people.part_labels(big.parsing[:1]).expand(600, -1, -1)
    parts = parts[:, ::4, ::4]
    masks = region_draw.draw_exact_regions(parts, NUM_PARTS, generator)
    present = parts[0].unique()[1:].tolist()
    drawn = []
    for mask, labels in zip(masks, parts, strict=True):
        part, = labels[mask].unique().tolist()
        assert torch.equal(mask, labels == part)
        drawn.append(part)
    counts = [drawn.count(part) for part in present]
    assert min(counts) > .6 * 600 / len(present)
    empty = region_draw.draw_exact_regions(torch.zeros(2, 4, 4), NUM_PARTS, generator)
    assert not empty.any()


def test_token_clusters_are_made_of_tokens_on_the_person(big):
    generator = torch.Generator().manual_seed(0)
    parts = people.part_labels(big.parsing)
    person = (parts > 0).float()
    sizes = []
    for _ in range(6):
        masks = region_draw.draw_token_clusters(
            big.images.float() / 255, parts, NUM_PARTS, generator)
        cells = masks.float().view(12, 32, 8, 16, 8).mean((2, 4))
        assert set(cells.unique().tolist()) <= {0., 1.}
        assert masks.flatten(1).any(1).all()
        inside = torch.stack([shown[mask].mean() for shown, mask in
                              zip(person, masks, strict=True)])
        assert inside.mean() > .7 > person.mean()
        sizes.append(masks.float().mean() / person.mean())
    assert .1 < torch.stack(sizes).mean() < .6


def test_batches_repeat_and_tell_the_truth(few):
    first = next(batches.batches(few, NUM_PARTS, 16, seed=3))
    again = next(batches.batches(few, NUM_PARTS, 16, seed=3))
    other = next(batches.batches(few, NUM_PARTS, 16, seed=4))
    assert torch.equal(first.regions, again.regions) and first.captions == again.captions
    assert torch.equal(first.holds, again.holds) and not torch.equal(first.people, other.people)
    assert len(first.scenes) == 2 and first.holds.shape == (18, len(first.captions))
    assert torch.allclose(first.shares.sum(1), torch.ones(len(first.shares)))
    assert first.holds[16:].sum(0).tolist() == [0] * (len(first.captions) - 1) + [2]
    known = [tuple(row) for row in few.attributes.tolist()]
    for row, attributes in enumerate(first.attributes.tolist()):
        facts = few.facts[known.index(tuple(attributes))]
        for column, text in enumerate(first.captions[:-1]):
            if 'wearing a hat' in text and facts['hat'] == 'without hat':
                assert not first.holds[row, column]
            if text == 'a photo of a male person':
                assert first.holds[row, column] == (facts['gender'] == 'male')


def test_a_caption_may_be_true_of_several_people():
    men, woman = dict(gender='male'), dict(gender='female')
    for seed in range(8):
        captions, holds = batches._caption_batch([men, men, woman], 1, np.random.default_rng(seed))
        for text, true in zip(captions, holds.T.tolist(), strict=True):
            assert true == {'a photo of a male person': [True, True, False, False],
                            'a photo of a female person': [False, False, True, False],
                            'a photo of a person': [True, True, True, False]}.get(
                                text, [False, False, False, True])


# --- losses -------------------------------------------------------------------------------------


def unit(*shape, seed=0):
    return F.normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_caption_loss_equals_the_plain_sum():
    images, texts = unit(4, 8), unit(3, 8, seed=1)
    holds = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    cosines = (100 * images @ texts.T).double()
    rows, columns = [], []
    for image in (0, 1, 3):
        logs = cosines[image].log_softmax(0)
        rows.append(-np.mean([logs[text].item() for text in range(3) if holds[image, text]]))
    for text in (0, 2):
        logs = cosines[:, text].log_softmax(0)
        columns.append(-np.mean([logs[image].item() for image in range(4) if holds[image, text]]))
    expected = (np.mean(rows) + np.mean(columns)) / 2
    loss = objectives.caption_loss(images, texts, holds, 100)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert objectives.caption_loss(images, texts, torch.zeros_like(holds), 100) == 0


def test_attribute_loss_leaves_out_what_is_unknown():
    embedded = unit(3, 8)
    texts = [unit(2, 8, seed=1), unit(4, 8, seed=2)]
    targets = torch.tensor([[0, -1], [1, 3], [-1, -1]])
    logs = [(100 * embedded @ text.T).log_softmax(1) for text in texts]
    expected = -(logs[0][0, 0] + logs[0][1, 1] + logs[1][1, 3]) / 3
    assert torch.isclose(objectives.attribute_loss(embedded, targets, texts, 100), expected)
    unknown = torch.full((3, 2), -1)
    assert objectives.attribute_loss(embedded, unknown, texts, 100) == 0


def test_region_loss_is_least_where_the_softmax_gives_the_shares():
    parts = torch.eye(3)
    shares = torch.tensor([[.6, .3, .1]])

    def loss(logits):  # any cosines may be asked for here
        return objectives.region_loss(logits / 100, shares, parts, 100)

    best = shares.log()
    assert loss(best).item() == pytest.approx(-(shares * best).sum().item(), rel=1e-5)
    assert loss(best + torch.tensor([[.2, -.1, 0.]])) > loss(best)


def test_person_loss_turns_at_the_filters_cosine():
    person = torch.tensor([1., 0.])
    cosine = objectives.PERSON_COSINE
    at = torch.tensor([[cosine, (1 - cosine ** 2) ** .5]])
    for truth in (True, False):
        assert objectives.person_loss(at, torch.tensor([truth]), person, 100).item() == \
            pytest.approx(np.log(2), abs=1e-4)
    near = torch.tensor([[1., 0.]])
    assert objectives.person_loss(near, torch.tensor([True]), person, 100) < 1e-6
    assert objectives.person_loss(near, torch.tensor([False]), person, 100) > 50


def test_candidates_are_the_labelers_text_bank():
    objective = micro_objective()
    clip = CLIPModel(objective.model, objective.tokenize, (32, 32), 'micro')
    bank = TextBank.build(clip, DEFAULT_VOCABULARY)
    embedded = objective.model.encode_text(objective.texts.tokens, normalize=True)
    candidates = objective.texts.group(embedded)
    assert torch.allclose(candidates.parts, bank.parts, atol=1e-5)
    assert torch.allclose(candidates.person, bank.person, atol=1e-5)
    for ours, theirs in zip(candidates.attributes, bank.attributes, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


# --- learning -----------------------------------------------------------------------------------


def test_one_batch_is_learned_by_heart(few):
    objective = micro_objective()
    batch = next(batches.batches(few, NUM_PARTS, 16, seed=0))
    optimizers = Optimizers(objective, 60, muon_lr=.02, adamw_lr=3e-3)
    before = objective.model.token_embedding.weight.detach().clone()
    first = None
    for _ in range(60):
        terms = objective(batch)
        first = first or {name: value.item() for name, value in terms.items()}
        optimizers.step(objectives.weighted(terms))
    last = {name: value.item() for name, value in objective(batch).items()}
    assert last['attribute'] < .3 * first['attribute']
    assert last['person'] < .1 and last['parsing'] < .6 * first['parsing']
    entropy = -(batch.shares * batch.shares.clamp(min=1e-9).log()).sum(1).mean()
    assert last['region'] - entropy < .3 * (first['region'] - entropy)
    assert last['caption'] < .6 * first['caption']
    assert objective.model.logit_scale.exp().item() == pytest.approx(100, rel=1e-5)
    moved = (objective.model.token_embedding.weight.detach() != before).any(1)
    spoken = torch.cat([objective.texts.tokens, objective.tokenize(list(batch.captions))]).unique()
    assert set(moved.nonzero()[:, 0].tolist()) <= set(spoken.tolist())


def test_every_weight_is_trained(few):
    objective = micro_objective()
    optimizers = Optimizers(objective, 10)
    optimizers.step(objectives.weighted(objective(next(
        batches.batches(few, NUM_PARTS, 16, seed=0)))))
    before = {name: value.detach().clone() for name, value in objective.named_parameters()}
    for _ in range(3):
        optimizers.step(objectives.weighted(objective(next(
            batches.batches(few, NUM_PARTS, 16, seed=1)))))
    still = {name for name, value in objective.named_parameters()
             if torch.equal(value, before[name])}
    assert still == {'model.logit_scale'}


def test_training_repeats(few):
    options = dict(steps=3, batch_size=8, architecture=MICRO)
    one, _ = train.fit(few, DEFAULT_VOCABULARY, seed=1, **options)
    torch.rand(7)
    two, _ = train.fit(few, DEFAULT_VOCABULARY, seed=1, **options)
    three, _ = train.fit(few, DEFAULT_VOCABULARY, seed=2, **options)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert not torch.equal(one.visual.conv1.weight, three.visual.conv1.weight)


def test_it_computes_on_the_asked_device(few, monkeypatch):
    """``meta`` stands for a GPU: nothing can be read of it."""
    class Given(Exception):
        pass

    def forward(self, batch):
        tensors = [value for value in vars(batch).values() if isinstance(value, torch.Tensor)]
        raise Given({value.device.type for value in (*tensors, *self.parameters(),
                                                     *self.buffers())})

    with monkeypatch.context() as patch:
        patch.setattr(objectives.Objective, 'forward', forward)
        patch.setattr(device, '_announced', [torch.device('meta')])
        for asked in (None, 'cpu'):
            with pytest.raises(Given) as given:
                train.fit(few, DEFAULT_VOCABULARY, seed=1, steps=3, batch_size=8,
                          architecture=MICRO, device=asked)
            assert given.value.args == ({asked or 'meta'},)

    seen = []

    def encode_images(self, images):
        seen.append(images.device.type)
        return F.normalize(torch.rand(len(images), 4), dim=-1)

    monkeypatch.setattr(CLIPModel, 'encode_images', encode_images)
    monkeypatch.setattr(CLIPModel, 'encode_texts', lambda self, texts: torch.ones(4) / 2)
    model = torch.nn.Linear(1, 1, device='meta')
    monkeypatch.setattr(CLIPModel, 'logit_scale', 1.)
    clip = CLIPModel(model, None, (32, 32), 'none')
    evaluate_mini_clip(clip, DEFAULT_VOCABULARY, few)
    assert set(seen) == {'meta'}


# --- the folder ---------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mini_clip')
    return folder, micro_training(folder)


def test_open_clip_reads_the_folder_in_every_way(trained, few, monkeypatch):
    folder, report = trained
    images = few.images.float() / 255
    tokens = open_clip.get_tokenizer(f'local-dir:{folder}')(['a photo of a child', 'hat'])
    assert tokens.shape == (2, 32)
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIG_PATHS', [])
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIGS', {})
    open_clip.add_model_config(folder / 'mini_clip.json')
    weights = str(folder / mini_clip.CHECKPOINT_FILE)
    bare = open_clip.create_model('mini_clip')
    open_clip.load_checkpoint(bare, weights)
    models = [bare, open_clip.create_model(f'local-dir:{folder}'),
              open_clip.create_model_and_transforms('mini_clip', pretrained=weights)[0],
              build_clip(f'local-dir:{folder}', None).model]
    state = torch.load(weights, weights_only=True)
    reference = architecture.build_mini_clip(MICRO)
    reference.load_state_dict(state)
    reference.eval()
    for model in models:
        model.eval()
        for way, data in (('encode_image', images), ('encode_text', tokens)):  # frozen or not
            torch.testing.assert_close(getattr(model, way)(data), getattr(reference, way)(data),
                                       rtol=1e-4, atol=1e-4)
    assert models[1].visual.preprocess_cfg['resize_mode'] == 'squash'
    assert models[1].visual.preprocess_cfg['size'] == 32
    assert 'synthetic' in report['note']


def test_a_finished_folder_is_left_alone(trained, monkeypatch):
    folder, report = trained
    files = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert set(files) == {'open_clip_pytorch_model.pth', 'mini_clip.json', 'open_clip_config.json',
                          'mini_clip_report.json'}
    monkeypatch.setattr(train, 'fit', lambda *args, **kwargs: pytest.fail('trained again'))
    assert micro_training(folder) == json.loads(json.dumps(report))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == files


@pytest.mark.parametrize('change', [dict(steps=2), dict(seed=1), dict(num_people=9)])
def test_other_settings_train_anew(trained, monkeypatch, tmp_path, change):
    folder, _ = trained
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    class Called(Exception):
        pass

    def fit(*args, **kwargs):
        raise Called

    monkeypatch.setattr(train, 'fit', fit)
    with pytest.raises(Called):
        micro_training(tmp_path, **change)
    assert mini_clip.read_report(tmp_path) is None


def test_damaged_weights_are_not_taken_for_finished(trained, tmp_path):
    folder, _ = trained
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert mini_clip.read_report(tmp_path) is not None
    content = bytearray((tmp_path / 'open_clip_pytorch_model.pth').read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'open_clip_pytorch_model.pth').write_bytes(content)
    assert mini_clip.read_report(tmp_path) is None


def test_a_killed_write_leaves_no_half_file(tmp_path, monkeypatch):
    def save(state, path):
        path.write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(KeyboardInterrupt):
        micro_training(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {'mini_clip.json',
                                                          'open_clip_config.json'}
    assert mini_clip.read_report(tmp_path) is None
    monkeypatch.undo()
    assert micro_training(tmp_path)['sha256'] == mini_clip.read_report(tmp_path)['sha256']


@pytest.mark.parametrize('change, named', [
    (dict(steps=0), 'steps'), (dict(batch_size=4), 'batch_size'), (dict(seed=-1), 'seed'),
    (dict(num_people=7), 'num_people'), (dict(num_heldout=0), 'num_heldout')])
def test_numbers_that_cannot_be_are_named(tmp_path, change, named):
    with pytest.raises(ValueError, match=named):
        micro_training(tmp_path / 'new', **change)
    assert not (tmp_path / 'new').exists()


# --- measures -----------------------------------------------------------------------------------


def test_naming_accuracy_by_hand():
    result = name_regions(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 1]),
                          ('hat', 'hair', 'face'))
    assert result['parts']['hat'] == dict(accuracy=pytest.approx(2 / 3), regions=3)
    assert result['parts']['face'] == dict(accuracy=0., regions=0)
    assert result['accuracy'] == pytest.approx(.8)
    assert result['mean_accuracy'] == pytest.approx((2 / 3 + 1) / 2)


def test_attribute_accuracy_by_hand():
    probabilities = torch.tensor([[.6, .3, .1], [.4, .35, .25], [.1, .8, .1], [.2, .2, .6]])
    result = judge_attribute(probabilities, torch.tensor([0, 1, 1, 1]))
    assert result == dict(
        accuracy=.5, balanced_accuracy=pytest.approx((1 + 1 / 3) / 2), majority=.75,
        mean_confidence=pytest.approx(.6), kept=.75, kept_accuracy=pytest.approx(2 / 3))


def test_report_is_shown_with_its_note(trained):
    from rich.console import Console

    _, report = trained
    page = io.StringIO()
    Console(width=120, file=page).print(mini_clip.report_tables(report))
    text = page.getvalue()
    for word in ('upper clothes', 'viewpoint', 'person filter', 'not OpenAI'):
        assert word in text
    assert 0 <= report['heldout']['regions']['accuracy'] <= 1
