#!/usr/bin/env bash
# Train on several GPUs, on one machine or many; without a GPU, in several processes on the CPU.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ $# -lt 2 ] || [[ "$1" == -* ]] || ! [[ "$2" =~ ^[1-9][0-9]*$ ]]; then
    cat >&2 <<EOF
usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]

GPUS is the number of processes on this machine, one per GPU. A free port is found by itself.
On many machines run it on each, with NNODES, NODE_RANK (0, 1, ...), MASTER_ADDR (the first one's
address) and, where 29500 is taken, MASTER_PORT set. PYTHON names the interpreter.
EOF
    exit 2
fi
CONFIG="$1"; GPUS="$2"; shift 2
source "$TOOLS/launch.sh"
launch "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
