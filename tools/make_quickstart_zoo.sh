#!/usr/bin/env bash
# Make the models of zoo/, two backbones and six tasks, and publish them there.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
PYTHON=
ZOO="$ROOT/zoo"
TASKS=(attribute reid pose parsing detection person_search)
TASKS_GIVEN=0
DIRTY=()

usage() {
    cat <<USAGE
usage: bash tools/make_quickstart_zoo.sh [--zoo DIR] [--venv DIR | --python FILE] [--allow-dirty]
                                         [TASK ...]

Pretrains the nano DINO and CLASP of the long budget (tools/run_ablation.py --table systems),
fine-tunes CLASP for every TASK (tools/quickstart_downstream.py; by default
${TASKS[*]}), one seed each on synthetic people, publishes the
models as float16 .safetensors (tools/publish_model.py) and prints their table.
More than an hour on two cores. What is done is not done again: call it once more to go on.

  --zoo DIR      where the models go (default: zoo)
  --venv DIR     the environment that tools/setup.sh keeps (default: .venv)
  --python FILE  an interpreter that has everything, in place of that
  --allow-dirty  the code has changes that are not committed; the models' passports will say so

Afterwards: python tools/demo.py parsing IMAGES; of another DIR, CLASP_ZOO=DIR before it.
USAGE
}

while [ $# -gt 0 ]; do
    case "$1" in
        --zoo) ZOO="$(realpath -m "${2:?--zoo needs a folder}")"; shift ;;
        --venv) VENV="$(realpath -m "${2:?--venv needs a folder}")"; shift ;;
        --python) PYTHON="${2:?--python needs a file}"; shift
            case "$PYTHON" in /*) ;; */*) PYTHON="$PWD/$PYTHON" ;; esac ;;
        --allow-dirty) DIRTY=(--allow-dirty) ;;
        -h|--help) usage; exit 0 ;;
        attribute|reid|pose|parsing|detection|person_search)
            [ $TASKS_GIVEN = 1 ] || TASKS=()
            TASKS_GIVEN=1; TASKS+=("$1") ;;
        *) echo "make_quickstart_zoo.sh: no option or task '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done
cd "$ROOT"
if [ -z "$PYTHON" ]; then
    bash tools/setup.sh --venv "$VENV"
    PYTHON="$VENV/bin/python"
fi
if [ ${#DIRTY[@]} = 0 ]; then
    CHANGES="$("$PYTHON" -c 'from clasp_mm.engine.provenance import describe_changes, git_state
state = git_state() or {}
print(describe_changes(state) if state.get("dirty") else "")')"
    if [ -n "$CHANGES" ]; then
        echo "make_quickstart_zoo.sh: models of code that is not committed are not published" \
             "($CHANGES): commit it, or say --allow-dirty" >&2
        exit 1
    fi
fi
mkdir -p "$ZOO" work_dirs
SPENT="work_dirs/$(basename "$ZOO").seconds"
keep_time() {  # of all calls so far
    echo $(($(cat "$SPENT" 2>/dev/null || echo 0) + SECONDS)) > "$SPENT"
}
trap keep_time EXIT

publish() {  # name, folder of the run, options; in place of what there is by that name
    local checkpoint target
    checkpoint="$("$PYTHON" -c 'import sys
from clasp_mm.engine.checkpoints import last_checkpoint
print(last_checkpoint(sys.argv[1]))' "$2")"
    target="$("$PYTHON" tools/publish_model.py "$checkpoint" "$1" --out "$ZOO" --no-pth --half \
        "${@:3}" ${DIRTY[@]+"${DIRTY[@]}"} | tail -n 1)"
    find "$ZOO" -name "$1_[0-9]*" ! -name "$(basename "${target%.safetensors}").*" -delete
    echo "$target"
}

SYSTEMS=work_dirs/ablation/long
PEOPLE=(--data "synthetic people, drawn by tools/make_synthetic_data.py" --data-licence Apache-2.0)
if [ ! -f $SYSTEMS/results/full-seed0.json ]; then
    "$PYTHON" tools/run_ablation.py --table systems --budget long --seeds 1
fi
scores() {  # of a row, as options of publish_model.py, a word a line
    "$PYTHON" -c '
import json, sys
scores = json.load(open(sys.argv[1]))["scores"]
for name, key in (("reid/mAP", "mAP"), ("reid/rank1", "rank1"), ("parsing/mIoU", "mIoU"),
                  ("attribute/mA", "mA")):
    print(f"--result\n{name}={scores[key]:.4g}")' $SYSTEMS/results/"$1"-seed0.json
}
publish_backbone() {  # name, row of the table
    local lines results
    lines="$(scores "$2")"
    mapfile -t results <<< "$lines"
    publish "$1" "$SYSTEMS/seed0/$2" "${results[@]}" "${PEOPLE[@]}" \
        --recipe "bash tools/make_quickstart_zoo.sh" \
        --scored-on $SYSTEMS/data/held_out/list.txt \
        --dataset "synthetic people, 480 people held out, frozen features, seed 0"
}
publish_backbone dino_nano table1_a_dino
publish_backbone clasp_nano full

declare -A SCORED=([attribute]="600 people of val" [reid]="80 queries" [pose]="120 images of val"
    [parsing]="200 people of val" [detection]="400 streets of val" [person_search]="48 scenes of test")
for task in "${TASKS[@]}"; do
    "$PYTHON" tools/quickstart_downstream.py "$task" --systems $SYSTEMS --only CLASP
    publish "${task}_nano" "work_dirs/quickstart_downstream/$task-long/seed0/full" \
        "${PEOPLE[@]}" --recipe "bash tools/make_quickstart_zoo.sh $task" \
        --dataset "synthetic, ${SCORED[$task]}, last epoch, seed 0"
done

"$PYTHON" tools/make_model_zoo.py --zoo "$ZOO"
if [ "$ZOO" = "$ROOT/zoo" ]; then
    "$PYTHON" tools/make_model_zoo.py
fi
cat "$ZOO/README.md"
total=$(($(cat "$SPENT" 2>/dev/null || echo 0) + SECONDS))
echo "$ZOO: CLASP_ZOO=$ZOO makes names outside zoo/ known. This call took $((SECONDS / 60)) min" \
     "$((SECONDS % 60)) s, all calls $((total / 60)) min $((total % 60)) s."
