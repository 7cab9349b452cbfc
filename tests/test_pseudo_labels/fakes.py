"""A CLIP and a teacher that see nothing but colour, so that every label is known exactly."""

import numpy as np
import torch
from torch import nn

from clasp_mm.pseudo_labels.clip_labeler import CLIPLabeler
from clasp_mm.pseudo_labels.clip_model import CLIPModel
from clasp_mm.pseudo_labels.labels import LabelSettings
from clasp_mm.pseudo_labels.vocabulary import Attribute, Part, Vocabulary

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0)
WORDS = dict(red=(1, 0, 0), green=(0, 1, 0), blue=(0, 0, 1), person=(1, 1, 1))
SIZE, GRID = (32, 16), (8, 4)
VOCABULARY = Vocabulary(
    parts=(Part('hat', ('red',)), Part('shirt', ('green',)), Part('legs', ('blue',))),
    attributes=(
        Attribute('mood', ('warm', 'cold'), (('red',), ('blue',))),
        Attribute('taste', ('even', 'green', 'purple'),
                  (('person',), ('green',), ('red and blue',)))),
    part_templates=('{}',), person_texts=('person',))


class ColourCLIP(nn.Module):
    """Embeds an image as its mean colour without the black, a text as the sum of its colours."""

    def __init__(self, scale=10.0):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(scale).log())
        self.images_seen = 0

    def encode_image(self, x):
        self.images_seen += len(x)
        return x.sum(dim=(2, 3)) + 1e-6 * x.new_tensor((1, -1, -1))  # black is no person

    def encode_text(self, tokens):
        words = torch.tensor(list(WORDS.values()), dtype=torch.float32)
        return tokens.float() @ words


def tokenize(texts):
    return torch.tensor([[text.split().count(word) for word in WORDS] for text in texts])


class ColourTeacher(nn.Module):
    """Maps (B, 3, 8, 4): the mean colour of each token; black tokens are zero."""

    def forward(self, x):
        mean, std = (x.new_tensor(v)[:, None, None] for v in (
            (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        return (nn.functional.adaptive_avg_pool2d(x * std + mean, GRID).mul(255).round() / 255,)


def make_labeler(teacher_id='colour-teacher', vocabulary=VOCABULARY, clip_batch_size=256,
                 **settings):
    clip = CLIPModel(ColourCLIP(), tokenize, SIZE, 'colour-clip', mean=(0, 0, 0), std=(1, 1, 1))
    settings = dict(dict(image_size=SIZE, input_size=SIZE, stage=0, foreground='norm',
                         position_weight=0.0, min_foreground=0.5,
                         min_person_cosine=0.2), **settings)
    return CLIPLabeler(clip, ColourTeacher(), teacher_id, vocabulary,
                       LabelSettings.from_dict(settings), clip_batch_size)


def draw_person(bands, size=SIZE, columns=(0, 0.75)):
    """Colours from top to bottom in equal bands on black, (H, W, 3) uint8 RGB."""
    image = np.zeros((*size, 3), np.uint8)
    left, right = (round(c * size[1]) for c in columns)
    edges = [i * size[0] // len(bands) for i in range(len(bands) + 1)]
    for colour, top, bottom in zip(bands, edges[:-1], edges[1:], strict=True):
        image[top:bottom, left:right] = colour
    return image


def draw_people(count, seed=0):
    """Random bands; some images are black (no person) or show too little of one."""
    rng = np.random.default_rng(seed)
    images = []
    for i in range(count):
        bands = [(RED, GREEN, BLUE)[c] for c in rng.integers(0, 3, size=4)]
        if i % 5 == 3:
            bands = [BLACK] * 4
        images.append(draw_person(bands, columns=(0, 0.25 if i % 5 == 4 else 0.75)))
    return images
