"""Draw synthetic people and write them as LUPerson is kept, with their ground truth."""

import argparse

from clasp_mm.datasets.synthetic import SyntheticPeople, contact_sheet, write_people

EPILOG = """\
The folder can be given at once to clasp_mm.LUPerson:
  dict(type='clasp_mm.LUPerson', data_root=OUT_DIR, ann_file='list.txt')
and its ground truth to clasp_mm.datasets.synthetic.load_ground_truth(OUT_DIR).
Another seed draws other people: take one seed per split. The same arguments give the same files
whatever the number of workers; run again after a kill, it goes on where it stopped.

example:
  python tools/make_synthetic_data.py data/people --identities 1000 --images-per-identity 10 \\
      --contact-sheet people.png
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out_dir', help='folder to write; new, or a run of this to be finished')
    parser.add_argument('--identities', type=int, default=500,
                        help='how many people (%(default)s)')
    parser.add_argument('--images-per-identity', type=int, default=8,
                        help='crops of each, going round the cameras (%(default)s)')
    parser.add_argument('--seed', type=int, default=0,
                        help='another seed shares no person and no background (%(default)s)')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 128),
                        metavar=('HEIGHT', 'WIDTH'), help='of the crops in pixels (256 128)')
    parser.add_argument('--cameras', type=int, default=6, help='number of cameras (%(default)s)')
    parser.add_argument('--lmdb', action='store_true',
                        help='one LMDB (name -> JPEG) in place of a file per image')
    parser.add_argument('--no-ground-truth', action='store_true',
                        help='leave out labels.npz and the part maps')
    parser.add_argument('--workers', type=int, help='processes (default: one per usable core)')
    parser.add_argument('--contact-sheet', metavar='PNG',
                        help='also draw a page to look at: people, part maps, keypoints, scenes')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    people = SyntheticPeople(args.identities, args.images_per_identity, args.seed,
                             tuple(args.size), args.cameras)
    write_people(args.out_dir, people, args.lmdb, not args.no_ground_truth, args.workers)
    if args.contact_sheet:
        contact_sheet(people, args.contact_sheet)


if __name__ == '__main__':
    main()
