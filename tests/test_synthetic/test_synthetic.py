import runpy
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.fileio import LmdbBackend

import clasp_mm.synthetic.people as people_module
from clasp_mm.datasets import LUPerson
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY
from clasp_mm.synthetic import (
    LIP_CLASSES,
    PA100K_ATTRIBUTES,
    SyntheticPeople,
    contact_sheet,
    draw_scene,
    load_ground_truth,
    write_people,
)
from clasp_mm.synthetic.camera import camera
from clasp_mm.synthetic.identity import FAMILY_SIZE, draw_look
from clasp_mm.synthetic.writers import MARKER

LIP = {name: index for index, name in enumerate(LIP_CLASSES)}
PA = {name: index for index, name in enumerate(PA100K_ATTRIBUTES)}


@pytest.fixture(scope='module')
def people():
    return SyntheticPeople(40, 6, seed=5)


@pytest.fixture(scope='module')
def records(people):
    return list(people)


@pytest.fixture
def clean(monkeypatch):
    """Pictures before the camera, with nothing in front of the subject."""
    def no_one_before(canvas, figure, seed, before, rng, draw=people_module._passer_by):
        if not before:
            draw(canvas, figure, seed, before, rng)
    monkeypatch.setattr(people_module, '_passer_by', no_one_before)
    monkeypatch.setattr(people_module, 'put_obstacle', lambda canvas, rng: None)
    monkeypatch.setattr(people_module, 'expose', lambda image, device, rng: image)


def assert_same(a, b):
    for field in fields(a):
        left, right = getattr(a, field.name), getattr(b, field.name)
        assert np.array_equal(left, right) if isinstance(left, np.ndarray) else left == right, \
            field.name


def pixels(record, *names):
    return int(np.isin(record.parsing, [LIP[name] for name in names]).sum())


# --- determinism ------------------------------------------------------------------------------


def test_image_depends_on_its_index_alone(people, records):
    fresh = SyntheticPeople(40, 6, seed=5)
    for index in (100, 3, -1, 3):
        assert_same(fresh[index], records[index])


def test_labels_agree_with_the_record(people, records):
    assert [people.labels(index) for index in range(len(people))] == [
        (record.identity, record.camera) for record in records]


def test_every_identity_goes_round_the_cameras(people):
    for identity in range(40):
        assert {people.labels(identity * 6 + number)[1] for number in range(6)} == set(range(6))


def test_another_seed_shares_no_identity():
    prints = [repr(draw_look(seed, identity)) for seed in (0, 1, 2, 2**32 - 1)
              for identity in range(60)]
    assert len(set(prints)) == len(prints)
    skins = [(draw_look(seed, identity).build, draw_look(seed, identity).head)
             for seed in (0, 1) for identity in range(60)]
    assert len(set(skins)) == len(skins)


def test_family_shares_the_look_and_each_member_differs():
    def shown(look):
        facts = look.facts()
        return {key: facts[key] for key in (
            'hair style', 'hair colour', 'hat', 'glasses', 'upper colour', 'upper pattern',
            'upper second colour', 'lower colour', 'shoes', 'shoes colour', 'bag', 'bag colour')}
    for family in range(15):
        looks = [draw_look(3, family * FAMILY_SIZE + member) for member in range(FAMILY_SIZE)]
        common = {(look.gender, look.age, look.sleeve, look.outermost.kind) for look in looks}
        assert len(common) == 1
        for i in range(FAMILY_SIZE):
            for j in range(i):
                one, other = shown(looks[i]), shown(looks[j])
                differ = sum(one[key] != other[key] for key in one)
                assert 1 <= differ <= 9


@pytest.mark.parametrize(('arguments', 'word'), [
    ((0, 1), 'num_identities'), ((1, 0), 'images_per_identity'), ((1, 1, -1), 'seed'),
    ((1, 1, 2**32), 'seed'), ((1, 1, 0, (16, 64)), 'size'),
    ((1, 1, 0, (64, 64), 0), 'num_cameras')])
def test_bad_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        SyntheticPeople(*arguments)


def test_index_out_of_range(people):
    with pytest.raises(IndexError, match='240'):
        people[240]


# --- the labels tell what the picture shows ---------------------------------------------------


def test_boxes_bound_the_parsing(records):
    for record in records:
        rows, columns = np.nonzero(record.parsing)
        if not len(rows):
            assert record.box_visible == (0, 0, 0, 0)
            continue
        assert record.box_visible == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        full, visible = np.array(record.box_full), np.array(record.box_visible)
        assert (full[:2] <= visible[:2]).all() and (full[2:] >= visible[2:]).all()


def test_full_box_is_the_visible_one_when_nothing_hides(clean):
    gaps = []
    for record in SyntheticPeople(30, 3, seed=8):
        full = np.array(record.box_full)
        inside = (full[:2] >= 0).all() and (full[2:] <= (128, 256)).all()
        if inside and record.facts['posture'] != 'sitting':
            gaps.append(np.abs(full - record.box_visible).max())
    assert len(gaps) > 40
    assert np.quantile(gaps, .9) <= 1.5


def test_what_stands_before_changes_only_what_is_seen(clean, records):
    free = list(SyntheticPeople(40, 6, seed=5))
    hidden = 0
    for record, bare in zip(records, free, strict=True):
        assert record.box_full == bare.box_full
        np.testing.assert_array_equal(record.keypoints[:, :2], bare.keypoints[:, :2])
        assert (record.keypoints[:, 2] <= bare.keypoints[:, 2]).all()
        shows = record.parsing > 0
        np.testing.assert_array_equal(record.parsing[shows], bare.parsing[shows])
        hidden += (bare.parsing > 0).sum() > shows.sum() + 50
    assert .1 < hidden / len(records) < .5


def test_visible_keypoints_lie_on_the_person(records):
    for record in records:
        distance = cv2.distanceTransform((record.parsing == 0).astype(np.uint8), cv2.DIST_L2, 5)
        for x, y, seen in record.keypoints:
            inside = 0 <= x < 127.5 and 0 <= y < 255.5
            if seen == 2:
                # A strap over the shoulder is background.
                assert distance[min(round(y), 255), min(round(x), 127)] <= 6
            elif inside:
                assert seen == 1
            elif not (-.5 <= x < 127.5 and -.5 <= y < 255.5):
                assert seen == 0


def test_keypoints_lie_on_their_own_side(records):
    own = {7: 'Left-arm', 8: 'Right-arm', 9: 'Left-arm', 10: 'Right-arm', 13: 'Left-leg',
           14: 'Right-leg', 15: 'Left-shoe', 16: 'Right-shoe'}
    other = {name: name.replace('Left', 'X').replace('Right', 'Left').replace('X', 'Right')
             for name in own.values()}
    found = Counter()
    for record in records:
        for joint, name in own.items():
            x, y, seen = record.keypoints[joint]
            if seen == 2:
                value = record.parsing[min(round(float(y)), 255), min(round(float(x)), 127)]
                found[value == LIP[name]] += 1
                found['other'] += value == LIP[other[name]]
    assert found[True] > 300
    assert found['other'] <= .01 * found[True]  # a pixel's rounding at most


def test_left_is_the_persons_own(records):
    def centre(record, name):
        return np.nonzero(record.parsing == LIP[name])[1].mean()
    for record in records:
        view = record.attributes['viewpoint']
        if view == 'side':
            continue
        sign = 1 if view == 'front' else -1
        for left, right in ((5, 6), (11, 12)):
            assert sign * (record.keypoints[left, 0] - record.keypoints[right, 0]) > 0
        if record.facts['posture'] == 'standing' and min(
                pixels(record, 'Left-shoe'), pixels(record, 'Right-shoe')) > 40:
            assert sign * (centre(record, 'Left-shoe') - centre(record, 'Right-shoe')) > 0


def test_face_is_seen_from_the_front_only(records):
    for record in records:
        nose, view = record.keypoints[0, 2], record.attributes['viewpoint']
        if view == 'back':
            assert nose < 2
    front = [record for record in records if record.attributes['viewpoint'] == 'front']
    assert np.mean([record.keypoints[0, 2] == 2 for record in front]) > .8


def test_garments_in_the_picture_are_those_of_the_labels(clean):
    count = Counter()
    for record in SyntheticPeople(60, 3, seed=9):
        true, facts = record.attributes, record.facts
        whole = record.box_full[1] >= 0 and record.box_full[3] <= 256 and \
            record.box_full[0] >= 0 and record.box_full[2] <= 128
        lower = true['lower garment']
        assert (pixels(record, 'Hat') > 0) <= (true['hat'] == 'hat')
        assert (pixels(record, 'Sunglasses') > 0) <= (true['glasses'] == 'glasses')
        assert (pixels(record, 'Skirt', 'Dress') > 0) <= (lower == 'skirt')
        assert (pixels(record, 'Pants') > 0) <= (lower != 'skirt')
        assert (pixels(record, 'Coat') > 0) <= (facts['upper'] in ('coat', 'jacket'))
        assert (pixels(record, 'Scarf') > 0) <= (facts['scarf colour'] is not None)
        assert (pixels(record, 'Glove') > 0) <= (facts['gloves colour'] is not None)
        assert not (lower == 'trousers' and pixels(record, 'Left-leg', 'Right-leg', 'Socks'))
        if not whole:
            continue
        count['hat'] += true['hat'] == 'hat'
        assert (pixels(record, 'Hat') > 40) == (true['hat'] == 'hat')
        assert pixels(record, 'Hair', 'Hat') > 40 or facts['hair style'] == 'bald'
        if true['viewpoint'] == 'front' and facts['holds'] is None:
            assert (pixels(record, 'Sunglasses') > 3) == (true['glasses'] == 'glasses')
            arms = pixels(record, 'Left-arm', 'Right-arm')
            count[true['sleeve']] += 1
            assert arms > 250 if true['sleeve'] == 'short sleeves' else arms < 420
        if facts['posture'] != 'sitting':
            names = {'trousers': ('Pants',), 'shorts': ('Pants',), 'skirt': ('Skirt', 'Dress')}
            assert pixels(record, *names[lower]) > 200
            if lower != 'trousers' and facts['shoes'] != 'boots':
                count['bare'] += 1
                assert pixels(record, 'Left-leg', 'Right-leg') > 200
    assert min(count.values()) > 10


def test_picture_has_the_garments_colour_where_the_map_says(clean):
    people = SyntheticPeople(60, 2, seed=10)
    checked = 0
    for record in people:
        look = people.look(record.identity)
        for name, garment in (('Upper-clothes', look.upper), ('Coat', look.coat),
                              ('Pants', look.lower), ('Skirt', look.lower), ('Dress', look.upper)):
            mask = cv2.erode((record.parsing == LIP[name]).astype(np.uint8), np.ones((3, 3))) > 0
            if garment is None or garment.pattern != 'plain' or mask.sum() < 300:
                continue
            mean, true = record.image[mask].mean(0), np.array(garment.colour.rgb, float)
            shade = (mean @ true) / (true @ true)
            assert .5 < shade < 1.2
            assert np.linalg.norm(mean - shade * true) < 14
            checked += 1
    assert checked > 80


def test_pa100k_agrees_with_the_attributes(records):
    for record in records:
        pa, true, facts = record.pa100k, record.attributes, record.facts
        assert pa.shape == (26,) and set(pa.tolist()) <= {-1, 0, 1}
        said = {name for name, index in PA.items() if pa[index] == 1}
        age = {'child': 'AgeLess18', 'adult': 'Age18-60', 'elderly': 'AgeOver60'}
        expected = {age[true['age']], true['viewpoint'].title()}
        expected |= {'Female'} if true['gender'] == 'female' else set()
        expected |= {'Hat'} if facts['hat'] else set()
        expected |= {'Glasses'} if facts['glasses'] else set()
        bag = {'handbag': 'HandBag', 'shoulder bag': 'ShoulderBag', 'backpack': 'Backpack'}
        expected |= {bag[facts['bag']]} if facts['bag'] else set()
        assert (true['bag'] == 'backpack') == (facts['bag'] == 'backpack')
        expected |= {'HoldObjectsInFront'} if facts['holds'] else set()
        expected.add('ShortSleeve' if true['sleeve'] == 'short sleeves' else 'LongSleeve')
        upper = {'stripes': 'UpperStride', 'logo': 'UpperLogo', 'plaid': 'UpperPlaid',
                 'splice': 'UpperSplice'}
        expected |= {upper[facts['upper pattern']]} if facts['upper pattern'] in upper else set()
        lower = {'side stripe': 'LowerStripe', 'plaid': 'LowerPattern', 'dots': 'LowerPattern'}
        expected |= {lower[facts['lower pattern']]} if facts['lower pattern'] in lower else set()
        expected |= {'LongCoat'} if facts['upper'] == 'coat' else set()
        expected.add({'trousers': 'Trousers', 'shorts': 'Shorts', 'skirt': 'Skirt&Dress'}[
            true['lower garment']])
        expected |= {'boots'} if facts['shoes'] == 'boots' else set()
        assert said == expected


def test_every_value_of_every_attribute_occurs(records):
    for attribute in DEFAULT_VOCABULARY.attributes:
        seen = Counter(record.attributes[attribute.name] for record in records)
        assert set(seen) == set(attribute.values)
    for index, name in enumerate(PA100K_ATTRIBUTES):
        values = {look.pa100k[index] for look in records}
        assert 0 in values, name


def test_identity_persists_and_the_picture_varies(people, records):
    constant = [name for name in DEFAULT_VOCABULARY.attribute_names if name != 'viewpoint']
    for identity in range(40):
        group = records[6 * identity:6 * identity + 6]
        for name in constant:
            assert len({record.attributes[name] for record in group}) == 1
        assert len({record.image.tobytes() for record in group}) == 6
    assert len({record.attributes['viewpoint'] for record in records[:24]}) == 3


def test_clothing_colour_is_a_clue_but_no_key(records):
    """Nearest neighbour, across cameras, on the subject's mean Lab colour within his mask.

    40 identities x 6 cameras; each camera's features are standardised first. Chance is 5 right
    of 200 candidates, 2.5 %.
    """
    features, identity, cameras = [], [], []
    for record in records:
        mask = record.parsing > 0
        lab = cv2.cvtColor(record.image, cv2.COLOR_RGB2LAB)
        features.append(lab[mask if mask.any() else slice(None)].reshape(-1, 3).mean(0))
        identity.append(record.identity)
        cameras.append(record.camera)
    features, identity, cameras = np.array(features), np.array(identity), np.array(cameras)
    for number in range(6):
        rows = cameras == number
        features[rows] = (features[rows] - features[rows].mean(0)) / features[rows].std(0)
    distance = ((features[:, None] - features[None])**2).sum(-1)
    distance[cameras[:, None] == cameras[None]] = np.inf
    rank1 = (identity[distance.argmin(1)] == identity).mean()
    assert .1 < rank1 < .6


def test_drawn_cameras_stay_in_range():
    for index in range(6, 40):
        device = camera(index)
        assert 40 <= device.quality <= 100 and .5 <= device.detail <= 1
        assert abs(np.mean(device.gain) - 1) < 1e-6


# --- scenes -----------------------------------------------------------------------------------


def test_scene_boxes_and_maps_agree():
    shown = 0
    for index in range(4):
        scene = draw_scene(5, num_people=9, index=index)
        assert scene.image.shape == (480, 800, 3) and len(scene.people) == 9
        assert len({person.identity for person in scene.people}) == 9
        assert not scene.parsing[scene.instances == 0].any()
        for number, person in enumerate(scene.people, 1):
            rows, columns = np.nonzero((scene.instances == number) & (scene.parsing > 0))
            full, visible = np.array(person.box_full), np.array(person.box_visible)
            if not len(rows):
                assert not visible.any()
                continue
            shown += 1
            assert tuple(visible) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert (full[:2] <= visible[:2]).all() and (full[2:] >= visible[2:]).all()
            for x, y, seen in person.keypoints:
                if seen == 2:
                    assert full[0] - 1 <= x <= full[2] + 1 and full[1] - 1 <= y <= full[3] + 1
                    at = (slice(max(round(float(y)) - 2, 0), round(float(y)) + 3),
                          slice(max(round(float(x)) - 2, 0), round(float(x)) + 3))
                    assert (scene.instances[at] == number).any()
    assert shown > 20


def test_scene_shows_the_identities_of_its_seed():
    people = SyntheticPeople(100, 1, seed=5)
    scene = draw_scene(5)
    for person in scene.people:
        true = people.look(person.identity).attributes()
        assert true == {key: value for key, value in person.attributes.items()
                        if key != 'viewpoint'}
    again = draw_scene(5)
    np.testing.assert_array_equal(scene.image, again.image)
    assert not np.array_equal(scene.image, draw_scene(5, index=1).image)


def test_scene_rejects_more_people_than_identities():
    with pytest.raises(ValueError, match='num_people'):
        draw_scene(0, num_people=5, num_identities=4)


# --- on disk ----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def small():
    return SyntheticPeople(33, 4, seed=7, size=(64, 32))  # two shards


@pytest.fixture(scope='module')
def folder(small, tmp_path_factory):
    path = tmp_path_factory.mktemp('people') / 'written'
    write_people(path, small, workers=1, progress=False)
    return path


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob('*') if path.is_file() and path.suffix != '.npz'}


def assert_same_labels(a, b):
    a, b = load_ground_truth(a), load_ground_truth(b)
    for field in fields(a):
        if field.name != 'root':
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_written_labels_are_the_records(folder, small):
    truth = load_ground_truth(folder)
    names = (folder / 'list.txt').read_text().split()
    assert names == truth.names.tolist() and len(names) == len(small)
    for index in (0, 50, 131):
        record = small[index]
        image = cv2.imread(str(folder / names[index]))[..., ::-1]
        assert np.abs(image.astype(int) - record.image).mean() < 6
        np.testing.assert_array_equal(truth.parsing(index), record.parsing)
        np.testing.assert_array_equal(truth.keypoints[index], record.keypoints)
        np.testing.assert_array_equal(truth.pa100k[index], record.pa100k)
        np.testing.assert_allclose(truth.box_full[index], record.box_full, rtol=1e-6)
        np.testing.assert_allclose(truth.box_visible[index], record.box_visible)
        assert (truth.identity[index], truth.camera[index]) == small.labels(index)
        assert record.attributes == {
            attribute.name: attribute.values[value] for attribute, value in
            zip(DEFAULT_VOCABULARY.attributes, truth.attributes[index], strict=True)}


def test_number_of_workers_changes_nothing(folder, small, tmp_path):
    write_people(tmp_path / 'other', small, workers=2, progress=False)
    assert contents(tmp_path / 'other') == contents(folder)
    assert_same_labels(tmp_path / 'other', folder)


class Stopping(SyntheticPeople):
    """Dies in the second shard."""

    def __getitem__(self, index):
        if index == 130:
            raise KeyboardInterrupt
        return super().__getitem__(index)


@pytest.mark.parametrize('lmdb', [False, True])
def test_interrupted_writing_goes_on(folder, small, tmp_path, lmdb):
    out = tmp_path / 'out'
    with pytest.raises(KeyboardInterrupt):
        write_people(out, Stopping(33, 4, seed=7, size=(64, 32)), lmdb, workers=1, progress=False)
    with pytest.raises(FileNotFoundError, match='complete'):
        load_ground_truth(out)
    first = out / 'parsing/0000/0000000.png'
    before = first.stat().st_mtime_ns
    write_people(out, small, lmdb, workers=1, progress=False)
    assert first.stat().st_mtime_ns == before  # the first shard was not drawn again
    assert_same_labels(out, folder)
    written = contents(folder)
    if lmdb:
        backend = LmdbBackend(str(out / 'lmdb'))
        assert all(backend.get(name) == written[name] for name in load_ground_truth(out).names)
    else:
        assert contents(out) == written


def test_complete_folder_is_left_alone(folder, small):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
    write_people(folder, small, workers=1, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob('*')}


def test_other_settings_and_other_folders_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match='seed is 7 there, 8 here'):
        write_people(folder, SyntheticPeople(33, 4, seed=8, size=(64, 32)), progress=False)
    (tmp_path / 'mine.txt').write_text('keep')
    with pytest.raises(ValueError, match=MARKER):
        write_people(tmp_path, SyntheticPeople(1, 1), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ['mine.txt']


def test_luperson_reads_both_kinds(folder, small, tmp_path):
    write_people(tmp_path / 'lmdb', small, True, False, workers=1, progress=False)
    for root in (folder, tmp_path / 'lmdb'):
        data = LUPerson(str(root), 'list.txt')
        assert len(data) == len(small)
        sample = data[77]
        assert sample['skipped'] == ''
        assert np.abs(sample['img'][..., ::-1].astype(int) - small[77].image).mean() < 6
    with pytest.raises(FileNotFoundError, match='without ground truth'):
        load_ground_truth(tmp_path / 'lmdb')


def test_tool_and_contact_sheet(tmp_path, monkeypatch):
    sheet = tmp_path / 'sheet.png'
    tool = Path(__file__).parents[2] / 'tools' / 'make_synthetic_data.py'
    monkeypatch.setattr(sys, 'argv', [
        str(tool), str(tmp_path / 'out'), '--identities', '3', '--images-per-identity', '2',
        '--workers', '1', '--contact-sheet', str(sheet)])
    runpy.run_path(str(tool), run_name='__main__')
    assert len(load_ground_truth(tmp_path / 'out').names) == 6
    page = cv2.imread(str(sheet))
    again = tmp_path / 'again.png'
    contact_sheet(SyntheticPeople(3, 2), again)
    assert page.shape[0] > 1000 and sheet.read_bytes() == again.read_bytes()
