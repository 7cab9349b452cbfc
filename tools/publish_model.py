#!/usr/bin/env python
"""Publish a pretrained backbone: {name}_{date}-{sha8}.pth and a side-car .json."""

import argparse

from clasp_mm.apis import publish_model
from clasp_mm.compat import allow_mmengine_checkpoints


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Take the teacher\'s backbone, with its prompts, out of a pretraining '
        'checkpoint and write it to a file that loads with weights_only=True.')
    parser.add_argument('checkpoint', help='checkpoint of clasp_mm.DINO, SOLIDER or CLASP')
    parser.add_argument('name', help='name of the model, as clasp_pcmoe-swin-base_luperson')
    parser.add_argument('--out-dir', default='work_dirs/published', help='default: %(default)s')
    parser.add_argument('--config', help='config of the run; by default the one beside the '
                        'checkpoint')
    args = parser.parse_args()
    allow_mmengine_checkpoints()
    print(publish_model(args.checkpoint, args.name, args.out_dir, args.config))


if __name__ == '__main__':
    main()
