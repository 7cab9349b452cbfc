# For dist_train.sh, dist_test.sh and slurm_train.sh to source: which Python, and how to start torchrun.

# The interpreter: $PYTHON, else the active environment's, else this repository's .venv, else python.
find_python() {
    local own
    own="$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python"
    if [ -n "${PYTHON:-}" ]; then echo "$PYTHON"
    elif [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$own" ]; then echo "$own"
    else echo python; fi
}

# launch PROCESSES SCRIPT ARGUMENTS...: one process per GPU of this machine, joined by torchrun.
launch() {
    local processes="$1" cores place
    shift
    cores="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)"
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((cores / processes > 0 ? cores / processes : 1))}"
    if [ "${NNODES:-1}" = 1 ]; then
        place=(--standalone)  # finds a free port
    else
        place=(--nnodes "$NNODES"
               --node_rank "${NODE_RANK:?set NODE_RANK: 0 on the first machine, then 1, 2, ...}"
               --master_addr "${MASTER_ADDR:?set MASTER_ADDR to the address of the first machine}"
               --master_port "${MASTER_PORT:-29500}")
    fi
    exec "$(find_python)" -m torch.distributed.run "${place[@]}" --nproc_per_node "$processes" "$@"
}
