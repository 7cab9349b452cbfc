"""Find images of a folder by words, attributes or a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_mm.pseudo_labels.vocabulary import DEFAULT_VOCABULARY

from . import options

if TYPE_CHECKING:
    from clasp_mm.datasets import LUPerson
    from clasp_mm.search.rank import Found

# Kind of a part -> name of its score, and what that is.
_SCALES = dict(
    text=('relative cosine', "cosine with the text, less the mean over the vocabulary's texts"),
    attribute=('probability', 'probability among the values of the attribute'),
    image=('cosine', 'cosine with the picture'))
_LOOK_ALIKES = ('checkpoint', 'config', 'task', 'semantic_weight', 'size')  # their options
EPILOG = """\
A query is words, split at commas ("red upper clothes, backpack"); a value of an attribute
("hair length=long hair"); the path of an image, to find what looks alike under a prompt of a
backbone (--checkpoint); or several of them, each an argument. Several parts count the same. The
folder is embedded once; later calls embed what is new or has changed.

Attributes of your own, in a JSON or YAML file for --attributes, each with two values or more:
  {"umbrella": {"umbrella": ["a photo of a person with an umbrella"],
                "no umbrella": ["a photo of a person with empty hands"]}}

examples:
  clasp search photos/ "red upper clothes, backpack" --clip-pretrained ViT-B-32.pt
  clasp search photos/ "umbrella=umbrella" --attributes umbrella.json
  clasp search photos/ someone.jpg --checkpoint clasp.pth --html work_dirs/alike.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='folder of images, or of an LMDB')
    parser.add_argument('query', nargs='+', help='words, ATTRIBUTE=VALUE or an image, see below')
    parser.add_argument('--count', type=int, default=24, help='images to find (%(default)s)')
    parser.add_argument('--html', type=Path, default=Path('work_dirs/search.html'), metavar='FILE',
                        help='page of the results (%(default)s)')
    parser.add_argument('--json', action='store_true', help='print JSON in place of a table')
    parser.add_argument('--index', type=Path, metavar='DIR', help='where the features are kept '
                        '(default: a folder of work_dirs/search here)')
    words = parser.add_argument_group('words')
    options.add_clip(words)
    words.add_argument('--attributes', metavar='FILE',
                       help='your own, beside ' + ', '.join(DEFAULT_VOCABULARY.attribute_names))
    options.add_any_swin(parser.add_argument_group('look-alikes'), default=' (appearance)')
    parser.add_argument('--batch-size', type=int, default=64, help='images (%(default)s)')
    parser.add_argument('--workers', type=int, default=2, help='processes that read (%(default)s)')
    options.add_device_and_precision(parser)


def run(args: argparse.Namespace) -> None:
    import json
    import sys
    from contextlib import redirect_stdout

    from clasp_mm.utils.shards import own_process
    with redirect_stdout(sys.stderr):  # loggers write there; a reader of JSON wants it alone
        found, source, index = _search(args)
        if found:
            _write_page(args, found, source)
    if found is None:
        print(f'process {own_process()[0]} is done; others still embed into {index}',
              file=sys.stderr)
        return
    for fault in found.unreadable[:20]:
        print(f'left out, {fault}', file=sys.stderr)
    if found.unreadable:
        print(f'{len(found.unreadable)} of {len(source)} images could not be read; the page names '
              'them', file=sys.stderr)
    if args.json:
        print(json.dumps(found.to_dict(), indent=1))
    else:
        print(_table(found))
        told = [f'{update.num_images} images, {update.new} embedded now, {update.gone} old '
                'features of files gone or changed' for update in found.updates.values()]
        print('; '.join([*told, f'page: {args.html}', f'index: {index}']))


def _search(args: argparse.Namespace) -> tuple[Found | None, LUPerson, Path]:
    from clasp_mm.datasets import LUPerson
    from clasp_mm.pseudo_labels.clip_model import build_clip
    from clasp_mm.search.embed import load_backbone
    from clasp_mm.search.index import backbone_encoder
    from clasp_mm.search.query import parse_query, read_attributes
    from clasp_mm.search.rank import search_images
    from clasp_mm.utils.shards import own_process
    options.check_counts(args, 'batch_size', 'count')
    options.check_counts(args, 'workers', least=0)
    attributes = DEFAULT_VOCABULARY.attributes
    if args.attributes:
        attributes = read_attributes(args.attributes)
    parts = parse_query(args.query, attributes)
    kinds = {part.kind for part in parts}
    given = [f'--{name.replace("_", "-")}' for name in _LOOK_ALIKES
             if getattr(args, name) is not None]
    if given and 'image' not in kinds:
        options.usage(f'{", ".join(given)}: for look-alikes of a picture, and the query has none')
    source = LUPerson(args.folder)
    clip = look = None
    if kinds - {'image'}:
        clip = build_clip(args.clip, options.clip_weights(args), args.device)
    if 'image' in kinds:
        if not args.checkpoint:
            raise ValueError('look-alikes are compared by a backbone: give --checkpoint')
        backbone = load_backbone(args, 'appearance')
        look = backbone_encoder(backbone, options.size_of_model(args),
                                getattr(backbone, 'semantic_weight', backbone.task), args.amp)
    index = args.index or _default_index(args.folder)
    rank, world_size = own_process()
    found = search_images(source, parts, index, clip, look, args.count, args.batch_size,
                          args.workers, rank == 0, args.amp, rank, world_size)
    return found, source, index


def _default_index(folder: str) -> Path:
    import hashlib
    import os

    from clasp_mm.utils.files import printable
    path = os.path.realpath(os.path.expanduser(folder))
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return Path('work_dirs', 'search', f'{printable(os.path.basename(path))}-{digest}')


def _table(found: Found) -> str:
    """The hits as aligned text, a column for each part where there are several."""
    from clasp_mm.utils.files import printable
    parts = found.parts if len(found.parts) > 1 else []
    heads = ['', 'score', *(part.words[-20:] for part in parts), 'image']
    rows = [[str(rank), f'{hit.score:.3f}', *(f'{value:.3f}' for value in hit.parts if parts),
             printable(hit.name)] for rank, hit in enumerate(found.hits, 1)]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads) - 1)]
    return '\n'.join('  '.join([*(cell.rjust(width) for cell, width in
                                  zip(row, widths, strict=False)), row[-1]])
                     for row in [heads, *rows])


def _write_page(args: argparse.Namespace, found: Found, source: LUPerson) -> None:
    from clasp_mm.datasets.images import UnreadableImageError, read_image
    from clasp_mm.visualization.neighbours import Cell, thumbnail
    from clasp_mm.visualization.pages import write_page
    several = len(found.parts) > 1
    words = [Path(part.words).name if part.kind == 'image' else part.words
             for part in found.parts]
    names = [_SCALES[part.kind][0] for part in found.parts]
    hits = []
    for rank, hit in enumerate(found.hits, 1):
        try:
            pictures = [thumbnail(source.load(hit.row)['img'][..., ::-1])]
        except UnreadableImageError:
            pictures = []
        parts = '; '.join(f'{own}: {name} {value:.3f}' for own, name, value in zip(
            words, names, hit.parts, strict=True))
        hits.append(Cell(hit.name, pictures, source.get_data_info(hit.row)['img_path'],
                         f'{rank}. {"mean score" if several else names[0]} {hit.score:.3f}',
                         note=parts if several else ''))
    pictures = [Cell(Path(part.path).name, [thumbnail(read_image(part.path)[..., ::-1])], part.path)
                for part in found.parts if part.kind == 'image']
    scale = _SCALES[found.parts[0].kind][1]
    if several:
        scale = 'mean of the parts, each brought to mean 0 and deviation 1 over the folder'
    models = [f'{Path(args.checkpoint if kind.startswith("look") else args.clip).name} ({kind})'
              for kind in found.updates]
    write_page(args.html, 'search', ', '.join(words), f'The best {len(hits)} of '
               f'{len(source) - len(found.unreadable)} images. Score: {scale}.',
               ', '.join(models), source.source, hits=hits, pictures=pictures,
               parts=[(own, _SCALES[part.kind][1], *spread) for part, own, spread in
                      zip(found.parts, words, found.spread.tolist(), strict=True)],
               unreadable=found.unreadable)
