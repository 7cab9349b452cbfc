"""Check PA-100K, PETA or RAP as configs/attribute expect them."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np

from ..attribute_files import OFFICIAL_SPLITS, AttributeTable, read_attribute_file
from ..images import list_images
from . import CheckReport

# File -> folder of the images, as RethinkPAR lays them out.
LAYOUTS = {'annotation.mat': ('data',), 'dataset_zs_run0.pkl': ('images', 'RAP_dataset')}
# Number of attributes -> name, images in train, val and test.
_OFFICIAL = {('annotation.mat', 26): ('PA-100K', (80000, 10000, 10000)),
             ('dataset_zs_run0.pkl', 35): ('PETA-zs', (11241, 3826, 3933)),
             ('dataset_zs_run0.pkl', 53): ('RAP-zs', (17062, 4648, 4928))}


def check_attributes(root: Path) -> CheckReport:
    """Look at a data root as ``configs/attribute`` expect it.

    Args:
        root: It should hold annotation.mat and data/ (PA-100K), or dataset_zs_run0.pkl and images/
            (PETA) or RAP_dataset/ (RAP). Nothing in the pickle is run.
    """
    findings = CheckReport()
    there = [name for name in LAYOUTS if (root / name).is_file()]
    if not there:
        findings.problems.append(f'there is neither {" nor ".join(LAYOUTS)} below {root}')
    for name in there:
        try:
            table = read_attribute_file(root / name)
        except ValueError as error:
            findings.problems.append(str(error))
            continue
        _check_splits(table, name, findings)
        _check_labels(table, findings)
        _check_images(root, LAYOUTS[name], table, findings)
    return findings


def _check_splits(table: AttributeTable, name: str, findings: CheckReport) -> None:
    sizes = ', '.join(f'{split} {len(rows)}' for split, rows in table.splits.items())
    known, official = _OFFICIAL.get((name, len(table.attributes)), ('another data set', ()))
    findings.facts.append(
        f'{name}: {len(table.attributes)} attributes, images: {sizes} ('
        + (f'the whole of {known}: {", ".join(map(str, official))}' if official else known) + ')')
    for split in OFFICIAL_SPLITS:
        if not len(table.splits.get(split, ())):
            findings.problems.append(f'{name} has no image of a split {split!r}')
    images = {split: {table.names[row] for row in rows} for split, rows in table.splits.items()
              if split in OFFICIAL_SPLITS}
    for first, second in combinations(images, 2):
        findings.first(f'images are in {first} and in {second}',
                       sorted(images[first] & images[second]))


def _check_labels(table: AttributeTable, findings: CheckReport) -> None:
    if table.num_unsure:
        findings.facts.append(f'{table.num_unsure} entries are 2 (cannot be told) and count as 0')
    for split in OFFICIAL_SPLITS:
        labels = table.labels[table.splits.get(split, [])]
        lacking = [name for name, column in zip(table.attributes, labels.T, strict=True)
                   if not ((column == 1).any() and (column == 0).any())]
        if lacking:
            findings.facts.append(f'{split}: mA leaves out what has no positive or no negative: '
                                  f'{", ".join(lacking)}')


def _check_images(root: Path, folders: tuple[str, ...], table: AttributeTable,
                  findings: CheckReport) -> None:
    folder = next((root / folder for folder in folders if (root / folder).is_dir()), None)
    if folder is None:
        findings.problems.append(f'there is no folder {" or ".join(folders)} with the images '
                                 f'below {root}')
        return
    there = set(list_images(folder))
    used = np.unique(np.concatenate([*table.splits.values()]))
    names = Counter(table.names[row] for row in used)
    findings.facts.append(f'{folder.name}/: {len(there)} images')
    findings.first(f'images are missing in {folder.name}/',
                   sorted(name for name in names if name not in there))
    findings.first('images are listed more than once',
                   sorted(name for name, count in names.items() if count > 1))
