#!/usr/bin/env bash
# From a fresh machine to a published CLASP backbone and a report: set-up, then tools/quickstart.py.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
args=()
while [ $# -gt 0 ]; do
    case "$1" in
        --venv) VENV="${2:?--venv needs a folder}"; shift ;;
        --venv=*) VENV="${1#--venv=}" ;;
        -h|--help)
            echo "usage: bash tools/quickstart.sh [--venv DIR] [options of tools/quickstart.py]"
            echo
            echo "Sets up the environment (tools/setup.sh) and runs the whole of CLASP on synthetic"
            echo "people, or with --images DIR on your own crops. A second call skips the set-up."
            if [ -x "$VENV/bin/python" ]; then echo; "$VENV/bin/python" "$ROOT/tools/quickstart.py" --help; fi
            exit 0 ;;
        --) shift; args+=("$@"); break ;;
        *) args+=("$1") ;;
    esac
    shift
done
bash "$ROOT/tools/setup.sh" --venv "$VENV"
exec "$VENV/bin/python" "$ROOT/tools/quickstart.py" ${args[@]+"${args[@]}"}
