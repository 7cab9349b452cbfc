#!/usr/bin/env bash
# Install clasp_mm into a virtual environment: the core set, or with --with-ops everything.
# Finished steps are remembered in the environment, so a second call does only what is left.
set -Eeuo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
WITH_OPS=0
OPS_IF_WHEEL=0
WITH_TESTS=0

usage() {
    cat <<EOF
usage: bash tools/setup.sh [--venv DIR] [--with-ops | --ops-if-wheel] [--with-tests]

  --venv DIR    the environment (default: .venv in this repository); made if it is not there.
                It may be one that exists (venv, conda, made with --system-site-packages): a working
                torch + torchvision in the accepted range is kept, not replaced.
  --with-ops    pose, detection and parsing too: compiled mmcv instead of mmcv-lite, mmdet,
                mmsegmentation, mmpose. Without a wheel (PIP_FIND_LINKS) mmcv is built from source:
                a C++ compiler, about 20 minutes on 2 cores; MAX_JOBS caps the parallel jobs.
  --ops-if-wheel
                the same, but only where pip finds a wheel of mmcv: nothing is built
  --with-tests  what the tests need

pip's own settings hold (PIP_INDEX_URL, PIP_FIND_LINKS ...). For a torch of your choice, such as the
CPU build, make the environment and install torch and torchvision first.
EOF
}

while [ $# -gt 0 ]; do
    case "$1" in
        --venv) VENV="${2:?--venv needs a folder}"; shift ;;
        --venv=*) VENV="${1#--venv=}" ;;
        --with-ops) WITH_OPS=1 ;;
        --ops-if-wheel) OPS_IF_WHEEL=1 ;;
        --with-tests) WITH_TESTS=1 ;;
        -h|--help) usage; exit 0 ;;
        *) echo "setup.sh: unknown option '$1'" >&2; usage >&2; exit 2 ;;
    esac
    shift
done
mkdir -p "$(dirname "$VENV")"
VENV="$(cd "$(dirname "$VENV")" && pwd)/$(basename "$VENV")"
PY="$VENV/bin/python"
STATE="$VENV/.clasp_mm"
LOG=""
STEP=0
STEPS=$((4 + 2 * (WITH_OPS | OPS_IF_WHEEL)))
TITLE="start"
HINT=""

say() { printf '%s\n' "$*"; if [ -n "$LOG" ]; then printf '%s\n' "$*" >>"$LOG"; fi; }

step() {
    STEP=$((STEP + 1)); TITLE="$1"; HINT="${2:-}"
    say "$(printf '[%d/%d] %s  (%d:%02d)' "$STEP" "$STEPS" "$TITLE" $((SECONDS / 60)) $((SECONDS % 60)))"
}

die() {
    trap - ERR
    { echo; echo "setup stopped in step $STEP of $STEPS ($TITLE): $1"
      if [ -n "$HINT" ]; then echo "What to do: $HINT"; fi
      if [ -n "$LOG" ]; then echo "The whole output is in $LOG"; fi
      echo "Then run the same command again: what is done is kept."; } >&2
    exit 1
}
trap 'die "a command failed (line $LINENO of tools/setup.sh)"' ERR

# Run pip; everything goes to the log, and to the screen what tells how far it is.
pip() {
    "$PY" -m pip --disable-pip-version-check --no-input "$@" 2>&1 | tee -a "$LOG" | awk '
        function show(text) { print "      " substr(text, 1, 100); fflush() }
        / MB\)$/ && /Downloading|Using cached/ {
            file = /Downloading/ ? $2 : $3
            split(file, part, "-"); show(part[1] " " part[2] " " $(NF - 1) " " $NF)
        }
        /^Installing collected packages/ { show("installing " split($0, all, ",") " packages ...") }
        /Building wheel for|still running|ERROR|error:|[Uu]ninstalled|No matching/ {
            sub(/^ +/, ""); show($0)
        }'
}

find_python() {
    local candidate
    for candidate in python3.11 python3 python3.12 python3.10 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
            >/dev/null 2>&1; then
            echo "$candidate"; return 0
        fi
    done
    return 1
}

# Print "keep TORCH TORCHVISION" for a pair that works and is accepted, "none", or "bad REASON".
torch_pair() {
    "$PY" - "$ROOT/requirements/core.txt" <<'EOF' 2>>"$LOG"
import sys
from importlib import metadata
from pip._vendor.packaging.requirements import Requirement
versions = {}
for line in open(sys.argv[1]):
    if not line.startswith(('torch>', 'torchvision>')):
        continue
    wanted = Requirement(line.strip())
    try:
        versions[wanted.name] = version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        continue
    if not wanted.specifier.contains(version, prereleases=True):
        sys.exit(print(f'bad {wanted.name} {version} is not in the accepted {wanted.specifier}'))
if not versions:
    sys.exit(print('none'))
if len(versions) < 2:
    sys.exit(print(f'bad {" ".join(versions)} is there alone'))
try:
    import torch
    import torchvision
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except (ImportError, OSError, RuntimeError, AttributeError) as error:
    sys.exit(print(f'bad torch and torchvision do not work together: {str(error).splitlines()[0]}'))
print('keep', versions['torch'], versions['torchvision'])
EOF
}

installed() { "$PY" -c "import importlib.metadata as m, sys; m.version(sys.argv[1])" "$1" >/dev/null 2>&1; }

# The mark of a finished set-up: the set-up's own files, this clone, and the interpreter.
mark() {
    (cd "$ROOT" && { cat tools/setup.sh requirements/*.txt setup.py pyproject.toml clasp_mm/version.py
        echo "$ROOT"; "$PY" -V; } | cksum)
}
done_before() {  # also look whether the packages are still there, by their metadata
    [ -f "$STATE/$1" ] && [ "$(cat "$STATE/$1")" = "$(mark)" ] && (cd / && "$PY" - "$ROOT" "$1" <<'EOF'
import sys
from importlib import metadata
from pathlib import Path
import clasp_mm
from clasp_mm import doctor
accepted = doctor.accepted_versions(metadata.requires('clasp_mm'))
names = {name for group in accepted.values() for name in group}
faults = doctor.diagnose(accepted, doctor.installed_versions(names)).faults
parts = list(faults) if sys.argv[2] == 'ops' else ['pretraining', 'pseudo-labels with CLIP']
whole = not any(faults[part] for part in parts)
if sys.argv[2] == 'tests':
    metadata.version('pytest')
sys.exit(not (whole and Path(clasp_mm.__file__).is_relative_to(sys.argv[1])))
EOF
    ) >/dev/null 2>&1
}

if [ -x "$PY" ]; then
    if [ "$OPS_IF_WHEEL" = 1 ] && installed mmcv; then WITH_OPS=1; fi
    wanted="core"
    if [ "$WITH_TESTS" = 1 ]; then wanted="$wanted tests"; fi
    if [ "$WITH_OPS" = 1 ]; then wanted="$wanted ops"; fi
    missing=""
    for part in $wanted; do done_before "$part" || missing="$missing $part"; done
    if [ -z "$missing" ]; then say "$VENV is set up ($wanted)"; exit 0; fi
fi

step "Python environment in $VENV" "install Python 3.11 with its venv module (Debian and Ubuntu: apt-get install python3.11 python3.11-venv; conda: conda create -p DIR python=3.11, then --venv DIR)"
if ! "$PY" -m pip --version >/dev/null 2>&1; then
    if [ -e "$VENV" ] && [ ! -f "$VENV/pyvenv.cfg" ] && [ -n "$(ls -A "$VENV")" ]; then
        die "$VENV is there, but is no Python environment with pip"
    fi
    BASE="$(find_python)" || die "no Python 3.10, 3.11 or 3.12 found (python3 is $(python3 -V 2>&1 || true))"
    "$BASE" -m venv "$VENV" || die "$BASE cannot make a virtual environment"
fi
"$PY" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
    || die "$("$PY" -V) in $VENV: clasp_mm runs on Python 3.10, 3.11 and 3.12"
mkdir -p "$STATE"
LOG="$STATE/setup.log"
printf '\n== %s setup.sh ops=%s tests=%s\n' "$(date)" "$WITH_OPS" "$WITH_TESTS" >>"$LOG"
say "      $("$PY" -V), log: $LOG"

if [ "$OPS_IF_WHEEL$WITH_OPS" = 10 ]; then
    found="$(mktemp -d)"
    if "$PY" -m pip --no-input download -q --no-deps --only-binary :all: -d "$found" \
        "$(grep '^mmcv==' "$ROOT/requirements/constraints.txt")" >>"$LOG" 2>&1; then
        WITH_OPS=1
    else
        STEPS=4
        say "      pip finds no wheel of compiled mmcv: without pose, detection and parsing (--with-ops builds it)"
    fi
    rm -rf "$found"
fi

CONSTRAINTS="$STATE/constraints.txt"
DISK="the environment takes 6 GB, pip's cache 2 more (PIP_NO_CACHE_DIR=1 leaves it out)"
NETWORK="look for ERROR in the log; without access to PyPI set pip's PIP_INDEX_URL (a mirror) or PIP_FIND_LINKS (a folder of wheels); $DISK"
step "torch and torchvision" "$NETWORK"
pair="$(torch_pair)"
case "$pair" in
    keep*)
        read -r _ torch torchvision <<<"$pair"
        say "      torch $torch and torchvision $torchvision are there and work: kept"
        sed -e "s/^torch===.*/torch===$torch/" -e "s/^torchvision===.*/torchvision===$torchvision/" \
            "$ROOT/requirements/constraints.txt" >"$CONSTRAINTS" ;;
    *)
        cp "$ROOT/requirements/constraints.txt" "$CONSTRAINTS"
        force=""
        if [ "$pair" != none ]; then
            say "      ${pair#bad }: installing the tested pair"
            force="--force-reinstall"
        fi
        say "      about 3 GB to download the first time; this is the longest step"
        free=$(($(df -Pk "$VENV" | awk 'NR == 2 { print $4 }') / 1000000))
        if [ "$free" -lt 8 ]; then
            say "      only $free GB are free on its disk: $DISK"
        fi
        pip install $force -c "$CONSTRAINTS" torch torchvision
        HINT="remove torch and torchvision from the environment, or delete it, and run this again"
        case "$(torch_pair)" in keep*) ;; *) die "$(torch_pair | sed 's/^bad //')" ;; esac ;;
esac

step "packages of the core" "$NETWORK"
files=(-r "$ROOT/requirements/core.txt" -r "$ROOT/requirements/clip.txt")
if [ "$WITH_TESTS" = 1 ]; then files+=(-r "$ROOT/requirements/tests.txt" -r "$ROOT/requirements/export.txt"); fi
if [ "$WITH_OPS" = 0 ] && ! installed mmcv; then files+=(-r "$ROOT/requirements/lite.txt"); fi
pip install -c "$CONSTRAINTS" wheel "${files[@]}"

if [ "$WITH_OPS" = 1 ]; then
    step "mmcv with compiled ops" "building needs a C++17 compiler (Debian and Ubuntu: apt-get install g++) and Python's headers (python3-dev); MAX_JOBS=1 lowers the memory it takes; or give pip a wheel for this Python and torch by PIP_FIND_LINKS"
    pip install -c "$CONSTRAINTS" ninja psutil
    if installed mmcv-lite; then pip uninstall -y mmcv-lite; fi
    # On the CPU, or without an argument on the GPU too, where there is one.
    prove_ops() {
        (cd "$ROOT" && "$PY" -c 'import sys; from clasp_mm.doctor import prove_ops; prove_ops(*sys.argv[1:])' "$@") >>"$LOG" 2>&1
    }
    if ! { installed mmcv && prove_ops cpu; }; then
        say "      a wheel if pip finds one, else a build of 10 to 30 minutes"
        MMCV_WITH_OPS=1 pip install --no-build-isolation -c "$CONSTRAINTS" \
            --force-reinstall --no-deps "$(grep '^mmcv>' "$ROOT/requirements/downstream.txt")"
        MMCV_WITH_OPS=1 pip install --no-build-isolation -c "$CONSTRAINTS" \
            "$(grep '^mmcv>' "$ROOT/requirements/downstream.txt")"
    fi
    prove_ops cpu || die "mmcv is installed, but its compiled ops do not load: a wheel for another torch?"
    prove_ops || say "      mmcv's compiled ops do not work on the GPU, so detection and person search run on the CPU only: install the CUDA toolkit (nvcc) that torch was built with, remove mmcv (pip uninstall mmcv), set FORCE_CUDA=1 and run this again"

    step "mmdet, mmsegmentation, mmpose" "$NETWORK"
    # chumpy, which mmpose names and never uses, cannot be built in isolation.
    pip install --no-build-isolation -c "$CONSTRAINTS" -r "$ROOT/requirements/downstream.txt"
    HINT="see the last traceback in the log"
    for module in mmdet mmseg mmpose; do
        "$PY" -W ignore -c "import $module.models, $module.datasets, $module.apis" >>"$LOG" 2>&1 \
            || die "$module is installed, but cannot be imported"
        say "      $module works"
    done
fi

step "clasp_mm, and a look at the whole (clasp doctor)" "see the doctor's lines above"
pip install --no-deps --no-build-isolation -e "$ROOT"
"$PY" -m pip check >>"$LOG" 2>&1 || say "      pip check has remarks (see the log); the doctor decides"
report="$(cd / && "$PY" -m clasp_mm doctor 2>&1)" || { printf '%s\n' "$report"; die "pretraining is not usable"; }
printf '%s\n' "$report" >>"$LOG"

mark >"$STATE/core"
if [ "$WITH_TESTS" = 1 ]; then mark >"$STATE/tests"; fi
if [ "$WITH_OPS" = 1 ]; then mark >"$STATE/ops"; fi
say "$(printf 'set up in %d:%02d. Activate it with: source %s/bin/activate' $((SECONDS / 60)) $((SECONDS % 60)) "$VENV")"
