#!/usr/bin/env bash
# The environment that `make` works in.
#
#   tools/environment.sh venv              makes .venv, on CPython 3.11, from requirements.lock
#   tools/environment.sh beam              makes .venv-beam from requirements-beam.lock
#   tools/environment.sh lock [--upgrade]  makes the lock files from setup.py: requirements.lock, for
#                                          .venv, requirements-beam.lock, with Apache Beam, and
#                                          requirements-predict.lock, without TensorFlow
#
# venv is done at once where .venv is whole and was made here from this lock file. Anything else
# there (an interrupted try, another lock, a folder that was moved, missing files) is replaced.
# PYTHON=… names the CPython 3.11 to take. Bash 3.2, as macOS has it, is enough.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
venv=.venv
lock=requirements.lock
unset PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0 \
    PIP_ROOT_USER_ACTION=ignore

make_venv() {
    if is_whole; then
        return
    fi
    rm -rf "$venv"
    make_empty_venv
    echo "Installing what $lock names into $venv: once, for some minutes." >&2
    local quiet=
    [ -t 1 ] || quiet=--quiet
    # The pip that Python brings may overlook the pin of a package that another one needs with an
    # extra, and then finds no hash for the newest; the locked pip does not.
    sed -n '/^pip==/,/# via/p' "$lock" >"$venv/pip.lock"
    "$venv/bin/python" -m pip install --quiet --require-hashes -r "$venv/pip.lock"
    "$venv/bin/python" -m pip install $quiet --use-pep517 --require-hashes -r "$lock"
    # PYTHONWARNINGS: setuptools warns of every editable installation.
    PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install --quiet --no-deps \
        --no-build-isolation --editable .
    made_from >"$venv/made_from"
}

# Packages come from the index that this machine's uv is configured for. The lock names none: its
# hashes say what to install, wherever that comes from.
# The overrides take the place of setup.py's markers: one lock has what training needs, on whatever
# platform, the other has nothing of it.
make_locks() {
    local uv
    uv=$(find_uv)
    unset UV_FIND_LINKS UV_CONSTRAINT UV_OVERRIDE
    for_training | make_lock requirements.lock --extra dev "$@"
    for_training | make_lock requirements-beam.lock --extra dev --extra beam-dev "$@"
    without_training | make_lock requirements-predict.lock "$@"
}

make_lock() {
    local lock=$1
    shift
    "$uv" pip compile setup.py --python-version 3.11 --universal --fork-strategy fewest \
        --override - --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" --quiet --output-file "$lock" "$@"
    echo "$lock: $(grep -c '^[a-z].*==' "$lock") packages"
}

# Prints the requirements that setup.py has for training, without their markers.
for_training() {
    sed -n '/^TRAINING = \[/,/^\]/s/^    "\(.*\)",$/\1/p' setup.py
}

# Prints the same packages with a marker that is never true, but for numpy, which TensorFlow keeps
# below 2.
without_training() {
    for_training | sed "s/[<=>].*/; python_version < '3'/; s/^numpy;.*/numpy>=2/"
}

# The environment holds absolute paths, so the folder is part of what it was made from.
made_from() {
    echo "$root"
    cksum "$lock" setup.py
}

is_whole() {
    [ -f "$venv/made_from" ] && [ "$(cat "$venv/made_from")" = "$(made_from)" ] &&
        "$venv/bin/python" tools/check_venv.py
}

make_empty_venv() {
    local python uv
    python=$(find_python)
    if [ -z "$python" ]; then
        echo "No CPython 3.11 here: uv fetches one into .uv." >&2
        python=$(fetch_python)
    fi
    # Debian's python3 comes without ensurepip, and then its venv has no pip.
    if has_venv "$python"; then
        "$python" -m venv "$venv"
    else
        uv=$(find_uv)
        "$uv" venv --quiet --no-project --seed --python "$python" "$venv"
    fi
}

has_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

# Prints a CPython 3.11, or nothing if there is none.
find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        is_cpython_311 "$PYTHON" ||
            fail "PYTHON=$PYTHON: expected CPython 3.11, found $(describe "$PYTHON")."
        command -v "$PYTHON"
        return
    fi
    for candidate in python3.11 python3 python; do
        if is_cpython_311 "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

is_cpython_311() {
    [ "$(describe "$1")" = "CPython 3.11" ]
}

describe() {
    "$1" -c 'import platform, sys
print(platform.python_implementation(), "%d.%d" % sys.version_info[:2])' 2>/dev/null ||
        echo "nothing that runs"
}

# Prints a CPython 3.11 that uv finds or fetches. (A failure inside $(…) does not end the script by
# itself, hence the exits.)
fetch_python() {
    local uv
    uv=$(find_uv) || exit
    if ! "$uv" python find --no-project 3.11 2>/dev/null; then
        export UV_PYTHON_INSTALL_DIR=$root/.uv/python
        "$uv" python install --no-bin 3.11 >&2 || fail "uv could not fetch CPython 3.11." \
            "Install it (Debian: python3.11 and python3.11-venv; Fedora: python3.11; macOS:" \
            "brew install python@3.11) and run make again, or make PYTHON=/path/to/python3.11;" \
            "behind a firewall, UV_PYTHON_INSTALL_MIRROR=URL names a mirror."
        "$uv" python find --no-project --managed-python 3.11
    fi
}

# Prints uv, which pip puts into .uv where there is none.
find_uv() {
    local candidate
    for candidate in uv "$root/.uv/bin/uv"; do
        if "$candidate" --version >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    for candidate in ${PYTHON:+"$PYTHON"} python3 python python3.11; do
        if install_uv "$candidate" >&2; then
            echo "$root/.uv/bin/uv"
            return
        fi
    done
    fail "expected CPython 3.11 with venv, or a Python whose pip can fetch uv, found neither." \
        "Install one of them (Debian: apt-get install python3-venv; uv by itself:" \
        "https://docs.astral.sh/uv) and run make again."
}

install_uv() {
    if "$1" -m pip --version >/dev/null 2>&1; then
        "$1" -m pip install --quiet --upgrade --target .uv uv
    else
        has_venv "$1" && "$1" -m venv --clear .uv && .uv/bin/python -m pip install --quiet uv
    fi
}

fail() {
    echo "error: $*" >&2
    exit 1
}

case "${1:-}" in
venv) make_venv ;;
beam)
    venv=.venv-beam lock=requirements-beam.lock
    make_venv
    ;;
lock) make_locks "${@:2}" ;;
*) fail "expected venv, beam or lock, found '${1:-}'." ;;
esac
