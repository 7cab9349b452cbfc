"""The mini CLIP's own people and empty scenes, drawn from seeds that nothing else uses."""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from clasp_mm.pseudo_labels.clip_labeler import to_canvas
from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY, LIP_TO_PART, Vocabulary
from clasp_mm.synthetic.background import cut_background, put_obstacle
from clasp_mm.synthetic.camera import camera, expose
from clasp_mm.synthetic.captions import caption_facts
from clasp_mm.synthetic.identity import FAMILY_SIZE
from clasp_mm.synthetic.paint import Canvas
from clasp_mm.synthetic.people import SyntheticPeople
from clasp_mm.synthetic.shards import mapper

FIRST_SEED = 2 ** 31
SPLITS = ('train', 'heldout')
CROP = (256, 128)
_BLOCK = 128
_SCENES_PER_BLOCK = 16
_SCENE_STREAM = 51
_NUM_CAMERAS = 6


@dataclass
class PeopleTable:
    """People and empty scenes with all that is known of them.

    Args:
        images: (N, 3, H, W) uint8 RGB.
        parsing: (N, H, W) uint8, LIP's 20 classes.
        attributes: (N, A) int64 index of the value, -1 where unknown.
        facts: Per person, what captions may say of him.
        scenes: (M, 3, H, W) uint8 RGB, nobody in them.
    """

    images: Tensor
    parsing: Tensor
    attributes: Tensor
    facts: list[dict[str, str]]
    scenes: Tensor

    def __len__(self) -> int:
        return len(self.images)


def part_labels(parsing: Tensor) -> Tensor:
    """Part labels of the default vocabulary, 0 background, of maps of LIP's classes."""
    return torch.tensor(LIP_TO_PART, dtype=torch.uint8)[parsing.long()]


def block_seed(seed: int, split: str, block: int) -> int:
    """Seed of one block of people, 2**31 or above; data sets are to take seeds below."""
    state = np.random.SeedSequence([seed, SPLITS.index(split), block]).generate_state(1)
    return FIRST_SEED + int(state[0]) % FIRST_SEED


def draw_people(number: int, *, seed: int, split: str, size: tuple[int, int],
                vocabulary: Vocabulary = DEFAULT_VOCABULARY, workers: int = 0,
                progress: bool = False) -> PeopleTable:
    """Draw people, no two of one family, and an eighth as many scenes without people.

    Args:
        number: N.
        seed: Seed of the mini CLIP.
        split: ``train`` or ``heldout``; they share neither identities nor backgrounds.
        size: (H, W) to which the 256 x 128 crops are squashed.
        vocabulary: With the default's parts and attributes; its texts may differ.
        workers: Processes; 0 draws in this one. The result is the same.
        progress: Show a bar.

    Raises:
        ValueError: If the vocabulary has other parts or attributes than the default one.
    """
    for kind in ('part_names', 'attribute_names', 'attribute_sizes'):
        given, known = getattr(vocabulary, kind), getattr(DEFAULT_VOCABULARY, kind)
        if given != known:
            raise ValueError(f'synthetic people are annotated with {kind} {known}, the vocabulary '
                             f'has {given}; change its texts only')
    numbers = [min(_BLOCK, number - start) for start in range(0, number, _BLOCK)]
    seeds = [block_seed(seed, split, block) for block in range(len(numbers))]
    blocks = []
    with tqdm(total=number, desc=f'drawing {split} people', unit='person',
              disable=not progress) as bar, mapper(max(1, workers), len(numbers)) as run:
        for block in run(partial(_draw_block, size), seeds, numbers):
            blocks.append(block)
            bar.update(len(block))
    return PeopleTable(facts=[facts for block in blocks for facts in block.facts], **{
        name: torch.cat([torch.from_numpy(getattr(block, name)) for block in blocks])
        for name in ('images', 'parsing', 'attributes', 'scenes')})


def _draw_block(size: tuple[int, int], seed: int, number: int) -> PeopleTable:
    """One block; its arrays are NumPy's, which travel between processes without shared memory."""
    height, width = size
    rows = (np.arange(height) * 2 + 1) * CROP[0] // (2 * height)
    columns = (np.arange(width) * 2 + 1) * CROP[1] // (2 * width)
    people = SyntheticPeople(FAMILY_SIZE * number, 1, seed, CROP, _NUM_CAMERAS)
    images, parsing, attributes, facts = [], [], [], []
    for record in (people[index] for index in range(0, len(people), FAMILY_SIZE)):
        images.append(record.image)
        parsing.append(record.parsing[np.ix_(rows, columns)])
        attributes.append([
            attribute.values.index(record.attributes[attribute.name])
            if record.attributes.get(attribute.name) in attribute.values else -1
            for attribute in DEFAULT_VOCABULARY.attributes])
        facts.append(caption_facts(record.attributes, record.facts))
    scenes = [_draw_empty_scene(seed, index)
              for index in range(max(1, _SCENES_PER_BLOCK * number // _BLOCK))]
    return PeopleTable(images=to_canvas(images, size).numpy(), parsing=np.stack(parsing),
                       attributes=np.array(attributes, np.int64), facts=facts,
                       scenes=to_canvas(scenes, size).numpy())


def _draw_empty_scene(seed: int, index: int) -> np.ndarray:
    """What a camera sees when nobody is there, at times with an obstacle: (256, 128, 3) RGB."""
    rng = np.random.default_rng([seed, _SCENE_STREAM, index])
    number = int(rng.integers(_NUM_CAMERAS))
    background = cut_background(seed, number, (2 * CROP[0], 2 * CROP[1]), rng)
    canvas = Canvas(background, float(rng.uniform(-1, 1)))
    if rng.random() < .3:
        put_obstacle(canvas, rng)
    image = cv2.resize(canvas.image, CROP[::-1], interpolation=cv2.INTER_AREA)
    return expose(image, camera(number), rng)
