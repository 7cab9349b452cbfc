#!/usr/bin/env bash
# Set up what the tests need and run them; what follows --venv DIR goes to pytest (-m slow, -k NAME).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
args=()
while [ $# -gt 0 ]; do
    case "$1" in
        --venv) VENV="${2:?--venv needs a folder}"; shift ;;
        --venv=*) VENV="${1#--venv=}" ;;
        -h|--help)
            echo "usage: bash tools/run_tests.sh [--venv DIR] [pytest arguments]"
            echo "Runs the fast tests; -m slow runs the slow ones, -m '' all of them."
            echo "A test that is not marked slow fails above 20 s (tests/ceiling.py)."
            exit 0 ;;
        *) args+=("$1") ;;
    esac
    shift
done
bash "$ROOT/tools/setup.sh" --venv "$VENV" --with-tests
VENV="$(cd "$VENV" && pwd)"
cd "$ROOT"
# The tests' tensors are tiny: more threads would only wait for each other, above all on a busy machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$VENV/bin/python" -m pytest ${args[@]+"${args[@]}"}
