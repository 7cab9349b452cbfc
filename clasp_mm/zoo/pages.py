"""The model zoo in Markdown: a page of all models, and the table of each family's README.

And the costs of its configs, counted into the metafiles.
"""

import html
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.config import Config

from clasp_mm.models.macs import config_cost
from clasp_mm.models.weights.find import HASHED_NAME, METAFILE, file_name
from clasp_mm.utils.files import locked, read_yaml, write_yaml
from clasp_mm.utils.tables import markdown_table

from .index import read_index, read_metafile

BEGIN = '<!-- zoo: written by tools/make_model_zoo.py -->'
END = '<!-- zoo: end -->'
_NOTE = ('Parameters and FLOPs (multiply-adds) are the backbone\'s, for one image of the input '
         'size under one prompt.\n**Source**: `paper`, the paper\'s number, not reproduced here; '
         '`ours, measured`, this repository\'s, on the data\nnamed; two metrics of each, the '
         '`.json` beside published weights has all. A model without weights has to be trained.')
_ALONG = ('They come with the clone; `clasp_mm.get_model(NAME)` and `clasp demo TASK IMAGES` '
          '(`reid` with `--gallery DIR`) find\nthem there. Hash: the first 8 digits of the '
          'SHA-256, which every load compares with the file.')


def zoo_pages(root: Path) -> dict[Path, str]:
    """What ``model_zoo.md`` and the README of each family of ``root/model-index.yml`` have to be.

    Raises:
        FileNotFoundError: A family has no README.
        ValueError: A metafile is wrong, or a README lacks the markers.
    """
    read_index(root)  # checks
    page, pages = ['# Model zoo', '', 'Written by `python tools/make_model_zoo.py` from the '
                   'metafiles; do not edit.', _NOTE], {}
    for name in read_yaml(root / 'model-index.yml')['Import']:
        content = read_yaml(root / name)
        title, readme = content['Collections'][0]['Name'], (root / name).with_name('README.md')
        page += ['', f'## {cell(title)}', '', table(content['Models'], root, root)]
        pages[readme] = _between(readme, f'{table(content["Models"], root, readme.parent)}\n\n'
                                 f'{_NOTE}')
    if (root / 'zoo' / METAFILE).is_file():
        page += ['', '## Weights in zoo/', '', _ALONG, '', _files_table(root / 'zoo')]
    return {root / 'model_zoo.md': '\n'.join(page) + '\n', **pages}


def folder_page(folder: Path) -> str:
    """The page of a zoo's folder: its own ``metafile.yml``, with links to the files beside it.

    Raises:
        FileNotFoundError: It has no metafile, or lacks a file that it names.
        ValueError: The metafile is wrong.
    """
    path = folder / METAFILE
    if not path.is_file():
        raise FileNotFoundError(f'{folder} has no {METAFILE}; clasp publish writes one')
    entries = read_metafile(path)
    for entry in entries:
        weights = entry.get('Weights', '')
        if '://' not in weights and not (folder / weights).is_file():
            raise FileNotFoundError(f'{path}, {entry["Name"]}: there is no {folder / weights}; '
                                    'put it there, or take the model out')
    return '\n'.join(['# Models', '', table(entries, folder, folder), '', _NOTE, ''])


def table(entries: Iterable[Mapping[str, Any]], root: Path, folder: Path) -> str:
    """A table of models.

    Args:
        entries: The models of a metafile.
        root: What their configs' paths are relative to.
        folder: Folder of the page; links are relative to it, and only to what is there.
    """
    titles = ('model', 'data, its terms', 'recipe, input, host', 'parameters, FLOPs', 'results',
              'source', 'weights')
    return markdown_table(titles, (_cells(entry, root, folder) for entry in entries))


def count_costs(root: Path) -> None:
    """Write ``Parameters`` and ``FLOPs`` into the metafiles that ``root/model-index.yml`` names."""
    known: dict[tuple[str, Any], tuple[int, int]] = {}
    for name in read_yaml(root / 'model-index.yml')['Import']:
        with locked(root / name):
            content = read_yaml(root / name)
            for entry in content['Models']:
                meta = entry['Metadata']
                cfg = Config.fromfile(root / entry['Config'])
                key = (meta['Input Size'], str(dict(cfg.model.backbone, init_cfg=None)))
                if key not in known:
                    known[key] = config_cost(cfg, meta['Input Size'])
                meta['Parameters'], meta['FLOPs'] = known[key]
            write_yaml(root / name, content)


def cell(value: Any) -> str:
    """Text that somebody wrote, in a table of Markdown: no markup, link or column of its own."""
    text = html.escape(' '.join(str(value).split()), quote=False)
    return re.sub(r'([\\`|\[\]])', r'\\\1', text)


def _files_table(folder: Path) -> str:
    """File, size, hash and recipe, which is a command, of the models of a zoo's folder."""
    rows = []
    for entry in read_metafile(folder / METAFILE):
        file = folder / file_name(entry['Weights'])
        rows.append([cell(entry['Name']), cell(entry['Metadata']['Task']),
                     f'[{file.name}]({folder.name}/{file.name})',
                     f'{file.stat().st_size / 1e6:.2f} MB', HASHED_NAME.search(file.name)[1],
                     _scores(entry['Results'] or ()), f'`{entry["Metadata"]["Recipe"]}`'])
    return markdown_table(('model', 'task', 'file', 'size', 'hash', 'results', 'made by'), rows)


def _scores(results: Iterable[Mapping[str, Any]]) -> str:
    """The first two metrics of each result, of one data set together; a passport has them all."""
    by_data: dict[str, list[str]] = {}
    for result in results:
        by_data.setdefault(cell(result['Dataset']), []).extend(
            f'{cell(name)} {cell(value)}' for name, value in islice(result['Metrics'].items(), 2))
    return '; '.join(f'{", ".join(found)} ({data})' for data, found in by_data.items())


def _cells(entry: Mapping[str, Any], root: Path, folder: Path) -> list[str]:
    meta, results = entry['Metadata'], entry['Results'] or []
    config, title = root / entry['Config'], cell(entry['Name'])
    if config.is_file():
        title = f'[{title}]({config.relative_to(folder)})'
    return [title, f'{cell(meta["Training Data"])}; {cell(meta["Data Licence"])}',
            f'{cell(meta["Recipe"])}; {meta["Input Size"]}; {cell(meta["Host"])}',
            f'{meta["Parameters"] / 1e6:.3g} M, {meta["FLOPs"] / 1e9:.3g} G', _scores(results),
            ', '.join(dict.fromkeys(result['Source'] for result in results)),
            _weights(entry, folder)]


def _weights(entry: Mapping[str, Any], folder: Path) -> str:
    """The hash, linked to the address or the file beside the page; else the file's name."""
    weights = entry.get('Weights')
    if not weights:
        return ''
    name = file_name(weights)
    if name != weights or (folder / weights).is_file():  # an address, or it is there
        other = str(entry['Metadata'].get('Safetensors', ''))
        more = f', [safetensors]({other})' if other and (folder / other).is_file() else ''
        return f'[{HASHED_NAME.search(name)[1]}]({weights}){more}'
    return f'`{weights}`'


def _between(readme: Path, text: str) -> str:
    if not readme.is_file():
        raise FileNotFoundError(f'{readme} is not there; each family of the zoo needs one, with '
                                f'the lines {BEGIN} and {END}')
    content, places = readme.read_text(encoding='utf-8'), f'{re.escape(BEGIN)}.*?{re.escape(END)}'
    if len(re.findall(places, content, re.DOTALL)) != 1:
        raise ValueError(f'{readme} needs the lines {BEGIN} and {END} once, where its table goes')
    return re.sub(places, lambda _: f'{BEGIN}\n{text}\n{END}', content, flags=re.DOTALL)
