"""Write the features of a folder of images, and a page of nearest neighbours."""

from __future__ import annotations

import argparse

from clasp_mm.utils.device import (
    add_amp_argument,
    add_device_argument,
    announce_device,
    set_matmul_precision,
)

from .options import PROMPTS, add_semantic_weight, add_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``clasp embed``."""
    parser.add_argument('folder', help='folder of images, or of an LMDB')
    parser.add_argument('--checkpoint', required=True,
                        help='published model (file or name), or any other Swin checkpoint with '
                        '--config')
    parser.add_argument('--config', help='config of a training checkpoint (default: the one '
                        'beside it)')
    parser.add_argument('--task', nargs='+', choices=PROMPTS,
                        help='prompt of a backbone with PC-MoE; several: their mean')
    add_semantic_weight(parser)
    add_size(parser)
    parser.add_argument('--out', default='work_dirs/features.npy',
                        help='.npy, or .parquet where pyarrow is installed (%(default)s)')
    parser.add_argument('--list', default='', help='file with one image name per line')
    parser.add_argument('--queries', type=int, default=24, help='rows of the page (%(default)s)')
    parser.add_argument('--neighbours', type=int, default=8, help='of each (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=64, help='images (%(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='processes that read (%(default)s)')
    add_device_argument(parser)
    add_amp_argument(parser)


def run(args: argparse.Namespace) -> None:
    """Write the files and say what is in them."""
    from pathlib import Path

    from clasp_mm.datasets import LUPerson
    from clasp_mm.search.embed import check_out, embed_images, load_backbone
    from clasp_mm.utils.shards import own_process
    args.device = announce_device(args.device)
    set_matmul_precision(args.float32_precision)
    check_out(args.out)
    model = load_backbone(args)
    source = LUPerson(args.folder, args.list)
    rank, world_size = own_process()
    result = embed_images(
        model, source, args.out, tuple(args.size), args.batch_size, args.workers,
        args.queries, args.neighbours,
        meta=dict(source=source.source, checkpoint=args.checkpoint, task=args.task,
                  semantic_weight=getattr(model, 'semantic_weight', None)),
        show_progress=rank == 0, amp=args.amp, rank=rank, world_size=world_size)
    if result is None:
        print(f'process {rank} is done; others are still at work on {args.out}')
        return
    print(f'{args.out}: {result["num_images"]} x {result["channels"]} features, '
          f'{len(result["unreadable"])} images left out; neighbours: '
          f'{Path(args.out).with_suffix(".html")}')
