"""What pages of the site take from the code: commands, components, benchmarks, the notebook.

A line ``<!-- generated: NAME -->`` of a page becomes the text of the function of that name.
"""

import argparse
import importlib
import inspect
import json
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clasp_mm
from clasp_mm import cli

HERE = Path(__file__).resolve().parent
MARK = re.compile(r'<!-- generated: (\w+) -->')
# Options that name what a command writes.
OUTPUTS = ('--out', '--html', '--picture', '--work-dir', '--contact-sheet')


def fill_page(app: Any, name: str, source: list[str]) -> None:
    """Turn a notebook into text, and put what is generated into a page (Sphinx's source-read)."""
    if source[0].startswith('{') and os.fspath(app.env.doc2path(name)).endswith('.ipynb'):
        source[0] = notebook_text(json.loads(source[0]))
    source[0] = MARK.sub(lambda found: GENERATED[found[1]](), source[0]).replace(
        ' ± ', '\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}')


def notebook_text(notebook: dict[str, Any]) -> str:
    """The cells of a notebook as Markdown, with the outputs that it holds."""
    parts = []
    for cell in notebook['cells']:
        text = ''.join(cell['source'])
        parts.append(text if cell['cell_type'] == 'markdown' else f'```python\n{text}\n```')
        for output in cell.get('outputs', ()):
            data = output.get('data', {})
            if 'image/png' in data:
                parts.append(f'![output](data:image/png;base64,{"".join(data["image/png"]).strip()})')
            elif shown := ''.join(output.get('text', data.get('text/plain', ''))).rstrip():
                parts.append(f'```text\n{shown}\n```')
    return '\n\n'.join(parts)


# Commands

def verbs(node: dict[str, Any] = cli.VERBS, words: str = 'clasp') -> Iterator[tuple[str, Any]]:
    """Every command and the module behind it."""
    for name, inside in node.items():
        if isinstance(inside, dict):
            yield from verbs(inside, f'{words} {name}')
        elif name:
            yield f'{words} {name}', importlib.import_module(f'clasp_mm.cli.{inside}')


def needs(parser: argparse.ArgumentParser) -> list[str]:
    """The arguments that a command must be given, as on its command line."""
    words = []
    for action in parser._actions:
        name = action.metavar or action.dest.upper()
        name = (name[0] if isinstance(name, tuple) else name).replace('|', ' or ')
        if not action.option_strings:
            words.append(name)
        elif action.required:
            words.append(f'{action.option_strings[0]} {name}')
    return words


def example_of(command: str, module: Any, parser: argparse.ArgumentParser) -> str:
    """The first line of example in a command's help; without one, what it must be given."""
    text = re.sub(r' *\\\n *', ' ', getattr(module, 'EPILOG', ''))
    found = re.search(rf'(?m)^ *(?:[A-Z_]+=\S+ )?({command} .*)$', text)
    if found:
        return re.sub('  +#.*', '', found[1])
    return ' '.join([command, *needs(parser)])


def outputs(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a command that name what it writes, with their defaults."""
    found = []
    for action in parser._actions:
        option = next(iter(action.option_strings), '')
        if option in OUTPUTS:
            default = action.default not in (None, argparse.SUPPRESS)
            found.append(f'`{option}`' + (f' ({action.default})' if default else ''))
    return found


def commands() -> str:
    """One table of all commands, and the help of each."""
    table = ['| command | what it does, and an example | reads | writes |', '|---|---|---|---|']
    helps = []
    for command, module in verbs():
        parser = cli.parser_of(module, command)
        reads = ', '.join(f'`{word}`' for word in needs(parser)
                          if word.split()[0] not in OUTPUTS)
        table.append(f'| [{command}](#{command.replace(" ", "-")}) '
                     f'| {module.__doc__.splitlines()[0]}<br>'
                     f'`{example_of(command, module, parser)}` '
                     f'| {reads} | {", ".join(outputs(parser))} |')
        helps.append(f'### {command}\n\n```text\n{parser.format_help().rstrip()}\n```')
    return '\n'.join([*table, '', '## Every option', '', *helps])


# Reference

def public() -> str:
    """The documentation of each public name, of classes with their own methods."""
    parts = []
    for name in clasp_mm.__all__[1:]:
        thing = getattr(clasp_mm, name)
        kind = 'class' if inspect.isclass(thing) else 'function'
        names = methods(thing) if kind == 'class' else []
        members = f'\n   :members: {", ".join(names)}' if names else ''
        parts.append(f'## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: clasp_mm.{name}{members}\n```')
    return '\n\n'.join(parts)


def methods(thing: type) -> list[str]:
    """The public methods that a class itself defines and documents."""
    return [name for name, value in vars(thing).items()
            if (name == '__call__' or not name.startswith('_'))
            and (inspect.isfunction(value) or isinstance(value, classmethod)) and value.__doc__]


def components() -> str:
    """The documentation of each registered class, by registry."""
    for room in ('models', 'datasets', 'engine', 'evaluation'):
        package = importlib.import_module(f'clasp_mm.{room}')
        for module in pkgutil.walk_packages(package.__path__, f'{package.__name__}.'):
            importlib.import_module(module.name)
    from clasp_mm import registry
    parts = []
    for name, found in vars(registry).items():
        classes = getattr(found, 'module_dict', {}) if name.isupper() else {}
        if classes:
            parts.append(f'## {name}')
        for key in sorted(classes, key=str.lower):
            thing = classes[key]
            kind = 'class' if inspect.isclass(thing) else 'function'
            parts.append(f'### clasp_mm.{key}\n\n```{{eval-rst}}\n.. auto{kind}:: '
                         f'{thing.__module__}.{thing.__qualname__}\n   :noindex:\n```')
    return '\n\n'.join(parts)


# Benchmarks

def quantity(value: float, unit: str) -> str:
    """A time in ms or s, memory in MiB."""
    if unit != 's':
        return f'{value:.0f}\N{NO-BREAK SPACE}{unit}'
    number, unit = (1000 * value, 'ms') if value < 1 else (value, 's')
    return f'{number:.3g}\N{NO-BREAK SPACE}{unit}'


def benchmarks() -> str:
    """A table of each run of ``tools/benchmark.py`` that is kept, and the goals that it missed."""
    parts = []
    for run in json.loads((HERE / 'benchmarks.json').read_text('utf-8'))['runs']:
        rows, environment = run['rows'], run['environment']
        parts += [f'## {run["title"]}', '', f'```console\n$ {run["command"]}\n```', '',
                  f'{run["date"]}, {run["machine"]}; torch {environment["torch"].split("+")[0]}, '
                  f'mmpretrain {environment["mmpretrain"]}, Python {environment["python"]}; '
                  f'medians of {run["options"]["repeats"]}.', '',
                  '| what | against | ours | theirs | ratio | goal | |',
                  '|---|---|---|---|---|---|---|']
        for row in rows:
            met = {True: 'met', False: '**missed**', None: ''}[row['met']]
            goal = row['reach'].replace('= ', '=\N{NO-BREAK SPACE}')
            same = row['details'].get('same_head_ratio')
            parts.append(
                f'| **{row["name"]}**: {row["what"]} | {row["peer"]} | '
                f'{quantity(row["ours"], row["unit"])} | {quantity(row["theirs"], row["unit"])} | '
                f'{row["ratio"]:.3g}{f" ({same:.2f})" if same else ""} | {goal} | {met} |')
        missed = [row['name'] for row in rows if row['met'] is False]
        parts += ['', f'Met: {sum(row["met"] is True for row in rows)} of '
                  f'{sum(row["met"] is not None for row in rows)} goals. '
                  f'Missed: {"; ".join(missed) or "none"}.', '']
        if any(row['profile'] for row in rows):
            parts += ['Where the time goes, as shares of the operators\' time (ours / theirs):', '',
                      *profile_table([row for row in rows if row['profile']]), '']
    return '\n'.join(parts)


def profile_table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Shares of the kinds of operators, ours and the peer's."""
    kinds = [kind for kind in rows[0]['profile']['ours'] if kind != 'optimizer']
    yield f'| | GFLOP | {" | ".join(kinds)} |'
    yield '|---' * (len(kinds) + 2) + '|'
    for row in rows:
        ours, peer = row['profile']['ours'], row['profile']['peer']
        flops = [sum(kind['gflop'] for kind in side.values()) for side in (ours, peer)]
        cells = [f'{ours[kind]["share"]:.0%} / {peer[kind]["share"]:.0%}' for kind in kinds]
        yield f'| {row["name"]} | {flops[0]:.3g} / {flops[1]:.3g} | {" | ".join(cells)} |'


GENERATED = {made.__name__: made for made in (commands, public, components, benchmarks)}
