"""Check Market-1501 and MSMT17 as they are unpacked."""

from pathlib import Path

from clasp_mm.evaluation.functional.reid_ranking import Protocol

from ..reid import MSMT17, NOBODY, Market1501, ReIDSample
from . import CheckReport

# Images of train (MSMT17: with val), query and gallery (Market-1501: without junk).
OFFICIAL = {Market1501: dict(train=12936, query=3368, gallery=15913),
            MSMT17: dict(train=32621, query=11659, gallery=82161)}


def check_reid(root: Path) -> CheckReport:
    """Look at a data root as ``configs/reid`` expects it; the layout tells which data set it is.

    Args:
        root: It should hold ``bounding_box_train``, ``query`` and ``bounding_box_test``, or the
            lists and folders of MSMT17.
    """
    findings = CheckReport()
    layout = MSMT17 if any(root.glob('list_*.txt')) else Market1501
    name = layout.METAINFO['dataset_name']
    data = layout(str(root), lazy_init=True)
    parts: dict[str, list[ReIDSample]] = {}
    for part in ('train', 'query', 'gallery'):
        try:
            parts[part] = data.read(part)
        except (FileNotFoundError, ValueError) as error:
            findings.problems.append(f'{name} {part}: {error}')
    for part, shots in parts.items():
        people = {shot.person for shot in shots} - {None}
        findings.facts.append(
            f'{name} {part}: {len(shots)} images, {len(people)} identities, '
            f'{len({shot.camera for shot in shots})} cameras (the whole of it: '
            f'{OFFICIAL[layout][part]} images)')
        findings.first(f'images of {part} are missing',
                       [shot.path for shot in shots if not (root / shot.path).is_file()])
        if not shots:
            findings.problems.append(f'{part} holds no image')
    if layout is Market1501 and len(parts) == 3:
        trained = {shot.person for shot in parts['train']}
        findings.first('identities are both in train and in test',
                       sorted(trained & {shot.person for shot in parts['query']}))
    if {'query', 'gallery'} <= set(parts):
        findings.first('queries have no image of their identity under another camera; they are '
                       'skipped', _unmatched(parts['query'], parts['gallery']))
    return findings


def _unmatched(queries: list[ReIDSample], gallery: list[ReIDSample]) -> list[str]:
    pids, cameras = ([[getattr(shot, name) for shot in shots] for shots in (queries, gallery)]
                     for name in ('person', 'camera'))
    numbers = [[NOBODY if person is None else person for person in own] for own in pids]
    protocol = Protocol(*numbers, *cameras, len(queries), len(gallery))
    return [shot.path for shot, matches in zip(queries, protocol.matches, strict=True)
            if not len(matches)]
