"""Write the features of a folder of images, and a page of nearest neighbours."""

import argparse

from .options import (
    add_any_swin,
    add_device_and_precision,
    add_out,
    check_counts,
    size_of_model,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='folder of images, or of an LMDB')
    add_any_swin(parser, required=True)
    add_out(parser, 'work_dirs/features')
    parser.add_argument('--format', choices=('npy', 'parquet'), default='npy',
                        help='of DIR/features.*; parquet needs pyarrow (%(default)s)')
    parser.add_argument('--list', default='', help='file with one image name per line')
    parser.add_argument('--queries', type=int, default=24, help='rows of the page (%(default)s)')
    parser.add_argument('--neighbours', type=int, default=8, help='of each (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=64, help='images (%(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='processes that read (%(default)s)')
    add_device_and_precision(parser)


def run(args: argparse.Namespace) -> None:
    from clasp_mm.datasets import LUPerson
    from clasp_mm.search.embed import check_out, embed_images, load_backbone
    from clasp_mm.utils.shards import own_process
    check_counts(args, 'batch_size')
    check_counts(args, 'queries', 'neighbours', 'workers', least=0)
    out = check_out(args.out / f'features.{args.format}')
    model = load_backbone(args)
    source = LUPerson(args.folder, args.list)
    rank, world_size = own_process()
    result = embed_images(
        model, source, out, size_of_model(args), args.batch_size, args.workers,
        args.queries, args.neighbours,
        meta=dict(source=source.source, checkpoint=args.checkpoint, task=args.task,
                  semantic_weight=getattr(model, 'semantic_weight', None)),
        show_progress=rank == 0, amp=args.amp, rank=rank, world_size=world_size)
    if result is None:
        print(f'process {rank} is done; others are still at work on {out}')
        return
    print(f'{out}: {result["num_images"]} x {result["channels"]} features, '
          f'{len(result["unreadable"])} images left out; neighbours: '
          f'{out.with_suffix(".html")}')
