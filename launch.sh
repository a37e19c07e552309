#!/bin/sh
# Finds a Python 3.10 to 3.14 and hands everything to app/bootstrap.py.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
right_version='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))'
can_make_venv="import venv, ensurepip; $right_version"
brought=3.13 # the one that uv brings

start_with() { # a check, then the arguments
    check=$1
    shift
    for python in "$here/.venv/bin/python" python3 python3.12 python3.13 python3.14 python3.11 python3.10 python; do
        if command -v "$python" >/dev/null 2>&1 && "$python" -c "$check" >/dev/null 2>&1; then
            exec "$python" "$here/app/bootstrap.py" "$@"
        fi
    done
}

start_with "$can_make_venv" "$@"
# From the system's root: a virtual environment or project in the current folder is none of ours.
if command -v uv >/dev/null 2>&1; then
    cat "$here/app/launch/uv_brings_python.txt" >&2
    python=$(unset VIRTUAL_ENV && cd / && export UV_PYTHON_PREFERENCE=only-managed &&
        uv python install "$brought" >&2 && uv python find "$brought") &&
        "$python" -c "$can_make_venv" >/dev/null 2>&1 && exec "$python" "$here/app/bootstrap.py" "$@"
fi
# Debian's own Python may lack ensurepip: it is taken when there is no other, and bootstrap.py says what is missing.
start_with "$right_version" "$@"
# One that is too old or too new: bootstrap.py says so, and which one to take.
start_with 'import sys; sys.exit(sys.version_info < (3, 9))' "$@"
cat "$here/app/launch/no_python.txt" >&2
exit 2
