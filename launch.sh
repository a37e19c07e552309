#!/bin/sh
# Finds a Python 3.10 to 3.13 and hands everything to app/bootstrap.py.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
right_version='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'
can_make_venv="import venv, ensurepip; $right_version"

# Debian's own Python may lack ensurepip: it is taken when there is no other, and bootstrap.py says what is missing.
for check in "$can_make_venv" "$right_version"; do
    for python in "$here/.venv/bin/python" python3 python3.12 python3.11 python3.13 python3.10 python; do
        if command -v "$python" >/dev/null 2>&1 && "$python" -c "$check" >/dev/null 2>&1; then
            exec "$python" "$here/app/bootstrap.py" "$@"
        fi
    done
done
cat "$here/app/launch/no_python.txt" >&2
exit 2
