"""The mini CLIP's architecture, in open_clip's own terms, and how it is written and read."""

import math
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from clasp_mm.utils.files import replacing, write_json

MODEL_NAME = 'mini_clip'
ARCHITECTURE_FILE = f'{MODEL_NAME}.json'
LOCAL_DIR_FILE = 'open_clip_config.json'
CHECKPOINT_FILE = 'open_clip_pytorch_model.pth'  # a name that open_clip looks for first

ARCHITECTURE = dict(
    embed_dim=128,
    vision_cfg=dict(layers=[1, 1, 1, 1], width=16, head_width=16, image_size=64),
    text_cfg=dict(context_length=32, vocab_size=49408, width=64, heads=2, layers=2),
    init_logit_scale=math.log(100))

PREPROCESS = dict(
    mean=[0.48145466, 0.4578275, 0.40821073],
    std=[0.26862954, 0.26130258, 0.27577711],
    interpolation='bicubic',
    resize_mode='squash')


def build_mini_clip(architecture: dict = ARCHITECTURE) -> nn.Module:
    """Build the untrained model; its logit scale stays at 100, the one the labeler uses."""
    from open_clip.model import CLIP

    model = CLIP(**deepcopy(architecture))
    model.logit_scale.requires_grad_(False)
    return model


def save_mini_clip(model: nn.Module, out_dir: Path, architecture: dict = ARCHITECTURE) -> None:
    """Write the weights and the two architecture files that open_clip knows how to read.

    ``open_clip.create_model('local-dir:OUT_DIR')`` reads them without further ado;
    ``open_clip.add_model_config('OUT_DIR/mini_clip.json')`` makes the name ``mini_clip`` known,
    and ``create_model('mini_clip', pretrained='OUT_DIR/open_clip_pytorch_model.pth')`` builds it.
    """
    write_json(out_dir / ARCHITECTURE_FILE, architecture, indent=2)
    write_json(out_dir / LOCAL_DIR_FILE,
               dict(model_cfg=architecture, preprocess_cfg=PREPROCESS), indent=2)
    with replacing(out_dir / CHECKPOINT_FILE) as partial:
        torch.save(dict(model.state_dict()), partial)
