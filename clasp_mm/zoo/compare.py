"""Published results side by side, where they were measured alike."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clasp_mm.compat import load_file
from clasp_mm.models.weights.find import METAFILE, verify_hash
from clasp_mm.models.weights.trained_with import meta_of
from clasp_mm.utils.files import read_json
from clasp_mm.utils.tables import markdown_table

from .index import TASKS, near_models, read_metafile, read_zoo
from .pages import cell

# What has to be equal for two numbers to be compared, and what a reader calls it.
PROTOCOL = {'task': 'task', 'data_hash': 'training data', 'split_hash': 'scored split',
            'input_size': 'input size', 'flip_test': 'flip test', 'rerank': 're-ranking',
            'selection': 'selection of the checkpoint'}
_MUST_BE_KNOWN = ('task', 'data_hash', 'split_hash', 'input_size')


class ProtocolError(ValueError):
    """Results that were not measured alike; the message names every field and its values."""


def compare(sources: Sequence[str], force: bool = False) -> str:
    """A table in Markdown of several models' results.

    Args:
        sources: Each a published file or its ``.json``, a zoo folder's metafile (all its models),
            or the name of a model in ``CLASP_ZOO``.
        force: Compare unlike protocols too; the table then has their differences.

    Raises:
        FileNotFoundError: There is no such file or name.
        ProtocolError: They were not measured alike, or it is not known.
        ValueError: There are not two models, or one has no passport or no results.
    """
    models = _distinct([model for source in sources for model in read_models(source)])
    if len(models) < 2:
        raise ValueError(f'{", ".join(sources)}: {len(models)} model; a comparison needs two')
    faults = differences(models)
    if faults and not force:
        raise ProtocolError('the protocols are unlike:\n  ' + '\n  '.join(
            f'{title}: {"; ".join(f"{name} {value}" for name, value in values.items())}'
            for title, values in faults.items())
            + '\nScore the models alike (clasp test), or see them side by side by --force')
    metrics = list(dict.fromkeys(name for model in models for name in model['results']))
    if not metrics:
        raise ValueError(f'{", ".join(model["name"] for model in models)}: no results were '
                         'published; say them with clasp publish --result')
    columns = ['model', *metrics, *(f'**unlike:** {title}' for title in faults)]
    lines = [markdown_table([*map(cell, columns)], (
        map(cell, (model['name'], *(model['results'].get(name, '') for name in metrics),
                   *(values[model['name']] for values in faults.values()))) for model in models))]
    if not faults:
        passport = models[0]['passport']
        lines += ['', 'All: ' + '; '.join(
            f'{title} {cell(_shown(passport.get(key)))}' for key, title in PROTOCOL.items()) + '.']
    return '\n'.join(lines)


def differences(models: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Fields of the protocol that differ, or have to be known and are not.

    As what a reader calls the field -> name of the model (of :func:`read_models`, each another)
    -> value.
    """
    found = {}
    for key, title in PROTOCOL.items():
        values = {model['name']: model['passport'].get(key) for model in models}
        unlike = len({json.dumps(value, default=str) for value in values.values()}) > 1
        if unlike or (key in _MUST_BE_KNOWN and None in values.values()):
            found[title] = {name: _shown(value) for name, value in values.items()}
    return found


def read_models(source: str) -> list[dict[str, Any]]:
    """Name, passport and results of what a source of :func:`compare` names.

    Raises:
        FileNotFoundError: There is no such file or name; near names are offered.
        ValueError: It has no passport.
    """
    path = Path(source)
    if path.name == METAFILE and path.is_file():
        return [_of_entry(entry, source) for entry in read_metafile(path)]
    if path.suffix == '.json' and path.is_file():
        return [_of_meta(read_json(path), source)]
    if path.suffix in ('.pth', '.safetensors') and path.is_file():
        verify_hash(path)
        return [_of_meta(meta_of(load_file(path)), source)]
    entries = read_zoo()
    if source not in entries:
        raise FileNotFoundError(f'{source} is no published file, no side-car (.json), no '
                                f'{METAFILE} and no model of the zoo{near_models(source, entries)}')
    return [_of_entry(entries[source], source)]


def _distinct(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Models of one name with a number behind it."""
    total, seen, found = Counter(model['name'] for model in models), Counter(), []
    for model in models:
        name = model['name']
        seen[name] += 1
        found.append(dict(model, name=f'{name} ({seen[name]})' if total[name] > 1 else name))
    return found


def _of_entry(entry: Mapping[str, Any], source: str) -> dict[str, Any]:
    results = {result['Task']: result['Metrics'] for result in entry['Results'] or ()}
    return _model(entry['Name'], entry['Metadata'].get('Passport'), results, source)


def _of_meta(meta: Any, source: str) -> dict[str, Any]:
    meta = meta if isinstance(meta, Mapping) else {}
    results = meta.get('results') or {}
    if not isinstance(results, Mapping) or not all(
            isinstance(metrics, Mapping) for metrics in results.values()):
        raise ValueError(f'{source}: its results are {results!r:.80}, not metric: value by task')
    results = {TASKS.get(task, task): metrics for task, metrics in results.items()}
    return _model(str(meta.get('name', source)), meta.get('passport'), results, source)


def _model(name: str, passport: Any, results: Mapping[str, Mapping[str, Any]], source: str
           ) -> dict[str, Any]:
    if not isinstance(passport, Mapping):
        raise ValueError(f'{source}: {name} has no passport, so nothing says how it was scored; '
                         'publish it with clasp publish')
    named = {}
    for task, metrics in results.items():
        for metric, value in metrics.items():
            named[f'{task} {metric}' if len(results) > 1 else metric] = value
    return dict(name=name, passport=passport, results=named)


def _shown(value: Any) -> str:
    return {'None': 'not known', 'True': 'yes', 'False': 'no'}.get(str(value), str(value))
