"""Draw synthetic people and write them, with exact ground truth, in the layout of a data set."""

import argparse

from .options import usage

EPILOG = """\
luperson (the default) is crops for pretraining. clasp_mm.LUPerson takes the folder as it is:
  dict(type='clasp_mm.LUPerson', data_root=OUT_DIR, ann_file='list.txt')
and its ground truth to clasp_mm.synthetic.load_ground_truth(OUT_DIR).
Another seed draws other people: take one seed per split.

The others are read by the host libraries' own data sets and by clasp_mm.CityPersons,
clasp_mm.AttributeDataset, clasp_mm.Market1501 and clasp_mm.CUHKSYSU. Give all splits one OUT_DIR
and one seed; they share no person and no background.

The same arguments give the same files whatever the number of workers; run again after a kill, it
goes on where it stopped.

examples:
  clasp data draw data/people --identities 1000 --images-per-identity 10 --contact-sheet people.png
  clasp data draw data/synthetic_coco --format coco --split train --images 500
  clasp data draw data/synthetic_coco --format coco --split val --images 100
"""
WRITERS = {'coco': 'write_coco_keypoints', 'lip': 'write_lip', 'citypersons': 'write_citypersons',
           'pa100k': 'write_pa100k', 'market1501': 'write_market1501',
           'cuhk_sysu': 'write_cuhk_sysu'}
_LUPERSON_ONLY = ('identities', 'images_per_identity', 'cameras', 'lmdb', 'no_ground_truth',
                  'contact_sheet')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.argument_default = argparse.SUPPRESS  # only what was given is there
    parser.add_argument('out_dir', help='folder to write; new, or a run of this to be finished')
    parser.add_argument('--format', choices=('luperson', *WRITERS), default='luperson',
                        help='layout of the files (%(default)s)')
    parser.add_argument('--seed', type=int, default=0,
                        help='another seed shares no person and no background (%(default)s)')
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'),
                        help='of the pictures in pixels (luperson, lip, pa100k and market1501 256 '
                             '128, coco 256 320, citypersons 256 512, cuhk_sysu 240 400)')
    parser.add_argument('--workers', type=int, help='processes (default: one per usable core)')
    luperson = parser.add_argument_group('luperson')
    luperson.add_argument('--identities', type=int, help='how many people (500)')
    luperson.add_argument('--images-per-identity', type=int,
                          help='crops of each, going round the cameras (8)')
    luperson.add_argument('--cameras', type=int, help='number of cameras (6)')
    luperson.add_argument('--lmdb', action='store_true',
                          help='one LMDB (name -> JPEG) in place of a file per image')
    luperson.add_argument('--no-ground-truth', action='store_true',
                          help='leave out labels.npz and the part maps')
    luperson.add_argument('--contact-sheet', metavar='PNG', help='also draw a page to look at: '
                          'people, part maps, keypoints, scenes')
    others = parser.add_argument_group('the other formats')
    others.add_argument('--split', choices=('train', 'val', 'test'),
                        help='which split; not all have a test (train)')
    others.add_argument('--images', type=int, help='how many pictures (500)')


def run(args: argparse.Namespace) -> None:
    foreign = ('split', 'images') if args.format == 'luperson' else _LUPERSON_ONLY
    for name in foreign:
        if name in args:
            usage(f'--{name.replace("_", "-")} does not go with --format {args.format}')
    from clasp_mm import synthetic
    given = vars(args)
    if args.format != 'luperson':
        options = {name: given[name] for name in ('size', 'workers') if name in args}
        getattr(synthetic, WRITERS[args.format])(
            args.out_dir, given.get('split', 'train'), given.get('images', 500), args.seed,
            **options)
        return
    people = synthetic.SyntheticPeople(
        given.get('identities', 500), given.get('images_per_identity', 8), args.seed,
        tuple(given.get('size', (256, 128))), given.get('cameras', 6))
    synthetic.write_people(args.out_dir, people, 'lmdb' in args, 'no_ground_truth' not in args,
                           given.get('workers'))
    if 'contact_sheet' in args:
        synthetic.contact_sheet(people, args.contact_sheet)
