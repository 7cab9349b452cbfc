#!/usr/bin/env bash
# Build the documentation site, docs/_build/index.html; a warning is an error.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
OUT="$ROOT/docs/_build"
while [ $# -gt 0 ]; do
    case "$1" in
        --venv) VENV="${2:?--venv needs a folder}"; shift ;;
        --venv=*) VENV="${1#--venv=}" ;;
        --out) OUT="$(realpath -m "${2:?a folder must follow --out}")"; shift ;;
        -h|--help)
            echo "usage: bash tools/build_docs.sh [--venv DIR] [--out DIR]"
            echo "Sets up the environment (tools/setup.sh --with-tests) and builds the site in"
            echo "docs/_build, or in DIR."
            exit 0 ;;
        *) echo "build_docs.sh: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done
bash "$ROOT/tools/setup.sh" --venv "$VENV" --with-tests
"$VENV/bin/python" -m sphinx -W --keep-going -n -q -d "$OUT/.doctrees" "$ROOT/docs" "$OUT"
echo "$OUT/index.html"
