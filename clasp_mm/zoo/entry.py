"""A published model's entry in the metafile of its zoo folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config

from clasp_mm.models.macs import config_cost
from clasp_mm.models.weights.find import METAFILE
from clasp_mm.utils.files import locked, read_yaml, write_yaml
from clasp_mm.utils.resources import shipped_file

from .index import SOURCES, TASKS, check_entry, model_task, read_index

_HOSTS = {'mmdet': 'mmdetection', 'mmseg': 'mmsegmentation'}


@dataclass(frozen=True)
class About:
    """What nobody can read from a checkpoint; None is what the zoo says of the same config.

    Args:
        data: What it was trained on, in words.
        data_licence: The terms of that.
        recipe: How it was trained, in words.
        dataset: What the results are of, in words.
    """

    data: str | None = None
    data_licence: str | None = None
    recipe: str | None = None
    dataset: str | None = None

    def completed(self, name: str, config: Path) -> tuple[About, list[str]]:
        """With what the library's metafiles say of the model of that name, or of that config.

        Returns:
            That, and what is still missing, each in a sentence.
        """
        entries = read_index()
        entry = entries.get(name) or entries.get(config.stem) or {}
        meta = entry.get('Metadata', {})
        found = replace(
            self, data=self.data or meta.get('Training Data'),
            data_licence=self.data_licence or meta.get('Data Licence'),
            recipe=self.recipe or meta.get('Recipe') or config.stem)
        asked = [f'{option} TEXT ({what})' for value, option, what in (
            (found.data, '--data', 'what it was trained on'),
            (found.data_licence, '--data-licence', 'the terms of that')) if value is None]
        return found, [f'the zoo has neither {name} nor its config, {config.stem}: say '
                       + ' and '.join(asked)] if asked else []


def parse_results(texts: Iterable[str]) -> dict[str, dict[str, float | str]]:
    """Read ``[TASK/]METRIC=VALUE``; the key of results without a task is ''.

    Raises:
        ValueError: A text is not of that form, or there is no such task.
    """
    found: dict[str, dict[str, float | str]] = {}
    for text in texts:
        name, equals, value = text.partition('=')
        task, _, metric = name.rpartition('/')
        if not equals or not metric.strip() or not value.strip():
            raise ValueError(f'result {text!r} is not as mAP=22.4 or reid/mAP=22.4')
        if task and task not in TASKS:
            raise ValueError(f'result {text!r}: no task {task!r}; one of {", ".join(TASKS)}')
        try:
            number: float | str = float(value)
        except ValueError:
            number = value.strip()
        found.setdefault(task, {})[metric.strip()] = number
    return found


def make_entry(name: str, cfg: Config, about: About, passport: Mapping[str, Any],
               results: Mapping[str, Mapping[str, Any]], target: Path,
               safetensors: str | None) -> dict[str, Any]:
    """The model's entry, as :mod:`~clasp_mm.zoo.index` describes it, with its passport.

    ``about`` is completed; ``results`` are by key of ``TASKS`` and metric. The config lies beside
    ``target``, the file of weights, under its stem; ``safetensors`` names the other file, if any.
    """
    size = passport['input_size']
    parameters, flops = config_cost(cfg, size)
    scope = cfg.get('default_scope') or 'mmpretrain'
    meta = {
        'Task': model_task(cfg.model), 'Host': _HOSTS.get(scope, scope),
        'Training Data': about.data, 'Data Licence': about.data_licence,
        'Recipe': about.recipe, 'Input Size': size, 'Parameters': parameters, 'FLOPs': flops,
        'Passport': dict(passport)}
    if safetensors:
        meta['Safetensors'] = safetensors
    rows = [{'Task': TASKS[task], 'Dataset': about.dataset or about.data,
             'Metrics': dict(metrics), 'Source': SOURCES[0]}
            for task, metrics in results.items()]
    return {'Name': name, 'In Collection': 'Published', 'Config': target.with_suffix('.py').name,
            'Weights': target.name, 'Metadata': meta, 'Results': rows or None}


def write_entry(folder: Path, entry: Mapping[str, Any]) -> None:
    """Put an entry into a folder's metafile, in place of one of the same name.

    Raises:
        ValueError: The metafile there is none, or the entry is wrong.
    """
    path = folder / METAFILE
    with locked(path):  # nobody else's entry is lost
        content = read_yaml(path) if path.is_file() else {}
        if not isinstance(content, Mapping) or not isinstance(content.get('Models', []), list):
            raise ValueError(f'{path} is no metafile: it needs a list of models under `Models`')
        check_entry(entry, path, (folder, shipped_file('model-index.yml').parent))
        models = [dict(entry) if model.get('Name') == entry['Name'] else model
                  for model in content.get('Models', [])]
        if entry['Name'] not in [model['Name'] for model in models]:
            models.append(dict(entry))
        write_yaml(path, {'Collections': [{'Name': 'Published'}], **content, 'Models': models})
