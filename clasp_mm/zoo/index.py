"""The model zoo's metafiles: read, checked and listed.

``model-index.yml`` imports a ``metafile.yml`` of each family of configs, in mmpretrain's schema;
``zoo/``, and a folder of the environment variable ``CLASP_ZOO``, may hold another, of the models
published there.
Of a model they have

======================  ==========================================================================
Name, In Collection
Config                  its path below the repository or installed package, or beside the metafile
Weights                 ``NAME_DATE-SHA8.pth`` in the zoo, or its address; only where there is one
Results                 null, or a list of Task, Dataset, Metrics and Source (whose the numbers are)
Metadata:
Task, Host              one of ``TASKS``; the library that builds and trains it
Training Data           and **Data Licence**, its terms
Recipe, Input Size      height x width, as 256x128
Parameters, FLOPs       of the backbone; multiply-adds of one image of that size under one prompt
======================  ==========================================================================

Of a published model Metadata also has its Passport (:mod:`~clasp_mm.zoo.passport`), and
Safetensors, the name of that file.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clasp_mm.models.weights.find import (
    FILE_NAME,
    HASHED_NAME,
    fetch_beside,
    file_name,
    is_fetched,
    metafile_models,
    published_models,
    zoo_metafiles,
)
from clasp_mm.utils.files import read_yaml
from clasp_mm.utils.names import near_names
from clasp_mm.utils.resources import shipped_file

from .config import read_zoo_config

TASKS = {'pretrain': 'Pretraining', 'reid': 'Re-identification',
         'attribute': 'Attribute Recognition', 'pose': 'Pose Estimation',
         'parsing': 'Human Parsing', 'detection': 'Pedestrian Detection',
         'person_search': 'Person Search'}
PRETRAINING = ('clasp_mm.DINO', 'clasp_mm.SOLIDER', 'clasp_mm.CLASP')  # types of models
SOURCES = ('ours, measured', 'paper')
_FIELDS = ('Name', 'In Collection', 'Config', 'Metadata')
_METADATA = ('Task', 'Host', 'Training Data', 'Data Licence', 'Recipe', 'Input Size', 'Parameters',
             'FLOPs')
_RESULT = ('Task', 'Dataset', 'Metrics', 'Source')
_NO_TEXT = ('Metadata', 'Metrics', 'Parameters', 'FLOPs')
_CONFIG = re.compile(rf'(?:{FILE_NAME.pattern}/)*{FILE_NAME.pattern}\.py')
# What in a config's model tells its task: the type of a head, or of the model itself.
_KINDS = {'ReIDHead': 'reid', 'AttributeHead': 'attribute', 'SeqNet': 'person_search',
          'TopdownPoseEstimator': 'pose', 'SelfCorrectingParser': 'parsing',
          'HumanParser': 'parsing', 'EncoderDecoder': 'parsing',
          'SingleStageDetector': 'detection', 'FasterRCNN': 'detection', 'DINO': 'pretrain',
          'CLASP': 'pretrain', 'SOLIDER': 'pretrain'}


def read_zoo() -> dict[str, dict[str, Any]]:
    """All models by name: the index's, those of ``zoo/``, and of ``CLASP_ZOO``; the later win.

    The paths of their configs are whole here, for :func:`~clasp_mm.zoo.config.open_config`.
    Those that an address has beside its metafile are fetched.

    Raises:
        FileNotFoundError: A config of the address cannot be fetched.
        ValueError: See :func:`check_entry`; or a fetched config would have to be run, see
            :func:`~clasp_mm.zoo.config.read_zoo_config`.
    """
    root = shipped_file('model-index.yml').parent
    entries = {name: {**entry, 'Config': str(root / entry['Config'])}
               for name, entry in read_index(root).items()}
    for metafile in zoo_metafiles():
        if is_fetched(metafile):
            _fetch_configs(metafile)
        for entry in read_metafile(metafile, root):
            beside = metafile.parent / entry['Config']
            config = beside if beside.is_file() else root / entry['Config']
            entries[entry['Name']] = {**entry, 'Config': str(config)}
    return entries


def _fetch_configs(metafile: Path) -> None:
    for entry in metafile_models(metafile):
        name = str(entry.get('Config', ''))
        if not FILE_NAME.fullmatch(name) or not name.endswith('.py'):
            continue  # of the library; anything else has no file, which check_entry says
        fetch_beside(metafile, name)
        try:
            read_zoo_config(metafile.parent / name)
        except ValueError:
            (metafile.parent / name).unlink()
            raise


def read_index(root: Path | None = None) -> dict[str, dict[str, Any]]:
    """The models of all metafiles that ``root/model-index.yml`` imports, by name, in its order.

    By default that is the checkout's or the installed package's.

    Raises:
        ValueError: A name comes twice, or see :func:`check_entry`.
    """
    root = root or shipped_file('model-index.yml').parent
    entries: dict[str, dict[str, Any]] = {}
    for name in read_yaml(root / 'model-index.yml')['Import']:
        for entry in read_metafile(root / name, root):
            if entry['Name'] in entries:
                raise ValueError(f'{name}, {entry["Name"]}: the name is there already; give it '
                                 'another')
            entries[entry['Name']] = entry
    return entries


def read_metafile(path: Path, root: Path | None = None) -> list[dict[str, Any]]:
    """The models of one metafile, checked.

    The paths of their configs are relative to its folder or to ``root``, by default the checkout
    or the installed package.

    Raises:
        ValueError: It is no metafile, or see :func:`check_entry`.
    """
    root = root or shipped_file('model-index.yml').parent
    models = metafile_models(path)
    for entry in models:
        check_entry(entry, path, (path.parent, root))
    return models


def check_entry(entry: Mapping[str, Any], metafile: str | Path, folders: Sequence[Path]) -> None:
    """Check one model of a metafile, whose config is in one of the folders.

    Raises:
        ValueError: A field is missing, empty or not of its kind, or there is no such config; the
            error names metafile, model and field.
    """
    where = f'{metafile}, {entry.get("Name", "a model without Name")!s:.200}'
    results, meta = entry.get('Results') or [], entry.get('Metadata') or {}
    if 'Results' not in entry:
        raise ValueError(f"{where}: field 'Results' is missing; where there are none it is null")
    for name, value in (('Results', results), ('Metadata', [meta])):
        if not isinstance(value, list) or not all(isinstance(part, Mapping) for part in value):
            raise ValueError(f'{where}: {name} is {entry[name]!r:.80}, not as the others are')
    for part, fields in ((entry, _FIELDS), (meta, _METADATA), *((r, _RESULT) for r in results)):
        for field in fields:
            if part.get(field) in (None, '', {}):
                raise ValueError(f'{where}: field {field!r} is missing; add it to the metafile')
            if field not in _NO_TEXT and not isinstance(part[field], str):
                raise ValueError(f'{where}: {field} is {part[field]!r:.80}, no text: quote it')
    if meta['Task'] not in TASKS.values():
        raise ValueError(f'{where}: Task is {meta["Task"]!r}, not one of {list(TASKS.values())}')
    if not re.fullmatch(r'\d+x\d+', str(meta['Input Size'])):
        raise ValueError(f'{where}: Input Size is {meta["Input Size"]!r}, not as 256x128')
    for field in ('Parameters', 'FLOPs'):
        if not isinstance(meta[field], int) or meta[field] <= 0:
            raise ValueError(f'{where}: {field} is {meta[field]!r}, no whole positive number')
    for result in results:
        if result['Source'] not in SOURCES:
            raise ValueError(f'{where}: Source is {result["Source"]!r}, not one of {SOURCES}')
        if not isinstance(result['Metrics'], Mapping):
            raise ValueError(f'{where}: Metrics is {result["Metrics"]!r:.80}, not name: value')
    weights = str(entry.get('Weights', 'x-00000000.pth'))
    try:
        name = file_name(weights)
        file_name(str(meta.get('Safetensors', 'x.safetensors')))
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
    if not HASHED_NAME.search(name):
        raise ValueError(f'{where}: Weights is {weights!r}, without the hash that a published '
                         'file has in its name: NAME_DATE-SHA8.pth')
    if not _CONFIG.fullmatch(str(entry['Config'])):
        raise ValueError(f'{where}: Config is {entry["Config"]!r:.200}, no path of a .py file '
                         'below the library or beside the metafile')
    if not any((folder / entry['Config']).is_file() for folder in folders):
        raise ValueError(f'{where}: there is no config {entry["Config"]}; correct the path')


def list_models(pattern: str = '*', task: str | None = None,
                licence: str | None = None, weights: bool = False) -> list[str]:
    """Names of the models of the zoo, sorted.

    Args:
        pattern: Wildcards for the name; anything may follow, as in mmpretrain.
        task: The task it is for, or has results of: ``'parsing'`` or ``'Human Parsing'``, as in
            :data:`TASKS`.
        licence: Wildcards for the terms of its training data, as ``'CC BY*'``.
        weights: Only those whose weights are here, or at an address.

    Raises:
        ValueError: There is no such task, or a metafile is wrong.

    Example:
        >>> list_models('upernet')
        ['upernet_pcmoe-swin-tiny_8xb2-160k_lip-572x384']
    """
    if task is not None:
        names = {name.lower(): title for name, title in TASKS.items()}
        names.update((title.lower(), title) for title in TASKS.values())
        if task.lower() not in names:
            raise ValueError(f'no task {task!r}; one of {", ".join(TASKS)}')
        task = names[task.lower()]
    published = published_models() if weights else {}
    return sorted(
        name for name, entry in read_zoo().items()
        if fnmatch.fnmatchcase(name, f'{pattern}*')
        and (not weights or _has_weights(entry, published))
        and task in (None, entry['Metadata']['Task'], *(r['Task'] for r in entry['Results'] or ()))
        and (licence is None or fnmatch.fnmatchcase(entry['Metadata']['Data Licence'], licence)))


def model_with_weights(task: str) -> str:
    """Name of the model of a task, a value of :data:`TASKS`, whose weights are here.

    Of several it is the last of :func:`read_zoo`: of ``CLASP_ZOO`` before ``zoo/``.

    Raises:
        FileNotFoundError: There is none.
    """
    published = published_models()
    found = [name for name, entry in read_zoo().items()
             if entry['Metadata']['Task'] == task and _has_weights(entry, published)]
    if not found:
        raise FileNotFoundError(
            f'no model of {task} has its weights in CLASP_ZOO or zoo/ of a clone: give the config '
            'of a model and its checkpoint')
    return found[-1]


def near_models(name: str, names: Iterable[str]) -> str:
    """The nearest of the names, as the end of an error."""
    return near_names(name, names, '; clasp_mm.list_models() has all names')


def model_task(model: Mapping[str, Any]) -> str | None:
    """The task (a value of :data:`TASKS`) that the ``model`` of a config is for, if known."""
    heads = [model.get(key) for key in ('head', 'bbox_head', 'decode_head')]
    return task_of_types([str(part.get('type')) for part in (*heads, model)
                          if isinstance(part, Mapping)])


def task_of_types(types: Iterable[str]) -> str | None:
    """The task of a config in which these types occur, if known."""
    names = {name.rsplit('.', 1)[-1] for name in types}
    return next((TASKS[task] for kind, task in _KINDS.items() if kind in names), None)


def _has_weights(entry: Mapping[str, Any], published: Mapping[str, Any]) -> bool:
    weights = entry.get('Weights') or entry['Name']
    return '://' in weights or weights in published
