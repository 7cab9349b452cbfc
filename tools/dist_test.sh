#!/usr/bin/env bash
# Evaluate a checkpoint on several GPUs; without a GPU, in several processes on the CPU.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ $# -lt 3 ] || [[ "$1" == -* ]] || ! [[ "$3" =~ ^[1-9][0-9]*$ ]]; then
    cat >&2 <<EOF
usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]

NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT and PYTHON: see tools/dist_train.sh.
EOF
    exit 2
fi
CONFIG="$1"; CHECKPOINT="$2"; GPUS="$3"; shift 3
source "$TOOLS/launch.sh"
launch "$GPUS" "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
