#!/usr/bin/env bash
# Train under Slurm: one task per GPU, started by srun.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ $# -lt 4 ] || [[ "$1" == -* ]]; then
    cat >&2 <<EOF
usage: [GPUS=8] bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [GPUS] [options of tools/train.py]

GPUS_PER_NODE (default: GPUS, at most 8), CPUS_PER_TASK (8), SRUN_ARGS (more options of srun) and
PYTHON are read from the environment.
EOF
    exit 2
fi
PARTITION="$1"; JOB_NAME="$2"; CONFIG="$3"; WORK_DIR="$4"; shift 4
if [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then GPUS="$1"; shift; fi
GPUS="${GPUS:-8}"
GPUS_PER_NODE="${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}"
export MASTER_PORT="${MASTER_PORT:-$((20000 + RANDOM % 20000))}"
source "$TOOLS/launch.sh"
# shellcheck disable=SC2086  # SRUN_ARGS holds several words
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" --gres=gpu:"$GPUS_PER_NODE" \
    --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-8}" \
    --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "$(find_python)" -u "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" --launcher slurm "$@"
