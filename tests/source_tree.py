"""What the sources import, read from their syntax trees."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'clasp_mm'


@dataclass(frozen=True)
class Import:
    importer: str
    name: str  # dotted; for `from a import b`, both `a` and `a.b` are listed
    top_level: bool  # runs when the importer is imported


def module_name(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def sources() -> dict[str, ast.Module]:
    return {module_name(path): ast.parse(path.read_text()) for path in PACKAGE.rglob('*.py')
            if '.mim' not in path.parts}


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    is_package = (ROOT / Path(*module.split('.')) / '__init__.py').exists()
    for node, top_level in _walk(tree, True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, top_level)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parts = module.split('.')
                parts = parts[:len(parts) - node.level + is_package]
                base = '.'.join([*parts, base]).rstrip('.')
            yield Import(module, base, top_level)
            for alias in node.names:
                yield Import(module, f'{base}.{alias.name}', top_level)


def _walk(node: ast.AST, top_level: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        checking = isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.unparse(child.test)
        yield child, top_level
        yield from _walk(child, top_level and not inside and not checking)
