#!/usr/bin/env bash
# Make the models of zoo/, two backbones and five tasks, and publish them there.
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
PYTHON=
ZOO="$ROOT/zoo"
TASKS=(attribute reid pose parsing detection)
TASKS_GIVEN=0
DIRTY=()

usage() {
    cat <<USAGE
usage: bash tools/make_quickstart_zoo.sh [--zoo DIR] [--venv DIR | --python FILE] [--allow-dirty]
                                         [TASK ...]

Pretrains the nano DINO and CLASP (tools/quickstart.py), fine-tunes CLASP for every TASK
(tools/quickstart_downstream.py; by default ${TASKS[*]}),
one seed each on synthetic people, publishes the models as float16 .safetensors
(tools/publish_model.py) and prints their table. person_search is made where it is named: with
two more copies of stage 4 it is larger than a model of zoo/ may be. An hour on two busy cores. What is done is not
done again: call it once more to go on.

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
        --python) PYTHON="${2:?--python needs a file}"; shift ;;
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

QUICKSTART=work_dirs/quickstart
PEOPLE=(--data "synthetic people, drawn by tools/make_synthetic_data.py" --data-licence Apache-2.0)
if [ ! -f $QUICKSTART/report.json ]; then
    "$PYTHON" tools/quickstart.py
fi
scores() {  # of a system, as options of publish_model.py, a word a line
    "$PYTHON" -c '
import json, sys
scores = json.load(open(sys.argv[1]))["seeds"][0]["scores"][sys.argv[2]]
for name, key in (("reid/mAP", "mAP"), ("reid/rank1", "rank1"), ("parsing/mIoU", "mIoU"),
                  ("attribute/mA", "mA")):
    print(f"--result\n{name}={scores[key]:.4g}")' $QUICKSTART/report.json "$1"
}
publish_backbone() {  # name, system, its folder
    local results
    mapfile -t results < <(scores "$2")
    publish "$1" "$QUICKSTART/seed0/$3" "${results[@]}" "${PEOPLE[@]}" \
        --recipe "bash tools/make_quickstart_zoo.sh" \
        --scored-on $QUICKSTART/data/held_out/list.txt \
        --dataset "synthetic people, 160 people held out, frozen features, seed 0"
}
publish_backbone dino_nano DINO dino_stage2
publish_backbone clasp_nano CLASP clasp

declare -A SCORED=([attribute]="600 people of val" [reid]="80 queries" [pose]="120 images of val"
    [parsing]="200 people of val" [detection]="400 streets of val" [person_search]="48 scenes of test")
for task in "${TASKS[@]}"; do
    "$PYTHON" tools/quickstart_downstream.py "$task"
    publish "${task}_nano" "work_dirs/quickstart_downstream/$task/seed0/pretrained" \
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
