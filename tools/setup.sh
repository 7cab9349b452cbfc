#!/usr/bin/env bash
# Install clasp_mm, and what all six tasks need, into a virtual environment; nothing is compiled.
# Finished steps are remembered in the environment, so a second call does only what is left.
set -Eeuo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
args=()

usage() {
    cat <<EOF
usage: bash tools/setup.sh [--venv DIR] [--cpu] [--wheels DIR] [--compiled-ops] [--with-tests]

  --venv DIR      the environment (default: .venv in this repository); made if it is not there.
                  It may be one that exists (venv, uv venv, conda, made with
                  --system-site-packages): a working torch + torchvision in the accepted range is
                  kept, not replaced.
  --cpu           a torch without CUDA: 0.2 GB to download in place of 3
  --wheels DIR    offline: take all packages from this folder. It is filled elsewhere, by the same
                  Python: pip wheel -w DIR -c requirements/constraints.txt torch torchvision \\
                  wheel -r requirements/core.txt -r requirements/clip.txt \\
                  -r requirements/host_needs.txt
                  pip wheel -w DIR --no-deps -c requirements/constraints.txt \\
                  -r requirements/hosts.txt
  --compiled-ops  mmcv's own operators in place of clasp_mm's: a wheel, where pip finds one
                  (PIP_FIND_LINKS), or a build of 20 to 46 minutes with a C++ compiler
  --with-tests    what the tests need

To download the first time: 3 GB, with --cpu 0.4 GB. pip's own settings hold (PIP_INDEX_URL,
PIP_FIND_LINKS ...). For a torch of your choice make the environment and install torch and
torchvision first.
EOF
}

die() { printf '\nset-up stopped: %s\nWhat to do: %s\n' "$1" "$2" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case "$1" in
        --venv) VENV="${2:?--venv needs a folder}"; shift ;;
        --venv=*) VENV="${1#--venv=}" ;;
        --wheels) args+=(--wheels "$(realpath "${2:?--wheels needs a folder}")"); shift ;;
        --wheels=*) args+=(--wheels "$(realpath "${1#--wheels=}")") ;;
        --cpu|--compiled-ops|--with-tests) args+=("$1") ;;
        -h|--help) usage; exit 0 ;;
        *) echo "setup.sh: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$(dirname "$VENV")"
VENV="$(cd "$(dirname "$VENV")" && pwd)/$(basename "$VENV")"
PY="$VENV/bin/python"

right_version() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

if [ ! -x "$PY" ]; then
    INSTALL="install Python 3.10 or newer with its venv module (Debian and Ubuntu: apt-get install python3 python3-venv; conda: conda create -p DIR python=3.11, then --venv DIR)"
    if [ -e "$VENV" ] && [ -n "$(ls -A "$VENV")" ]; then
        die "$VENV is there, but is no Python environment" "name another folder by --venv"
    fi
    BASE=""
    for candidate in python3.11 python3.12 python3.13 python3 python3.14 python3.10 python; do
        if right_version "$candidate"; then BASE="$candidate"; break; fi
    done
    [ -n "$BASE" ] || die "no Python 3.10 or newer found (python3 is $(python3 -V 2>&1 || true))" "$INSTALL"
    if ! "$BASE" -m venv "$VENV"; then
        command -v uv >/dev/null && uv venv --allow-existing --python "$BASE" "$VENV" \
            || die "$BASE cannot make a virtual environment" "$INSTALL"
    fi
fi
right_version "$PY" || die "$("$PY" -V) in $VENV: clasp_mm runs on Python 3.10 and newer" \
    "name another folder by --venv"
cd "$ROOT"
"$PY" -m clasp_mm install --source . ${args[@]+"${args[@]}"}
echo "Activate it with: source $VENV/bin/activate"
