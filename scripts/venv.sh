#!/bin/sh
# Makes .venv with a Python that the locked requirements are for.
set -eu
cd "$(dirname "$0")/.."

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11} ''; do
    [ -n "$python" ] || { echo "Switchyard needs Python 3.11, 3.12 or 3.13: none found on PATH (set PYTHON=/path/to/python)." >&2; exit 1; }
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && break
done

echo "==> Making .venv with $("$python" -c 'import platform, sys; print("Python", platform.python_version(), "at", sys.executable)')"
rm -rf .venv
if uv --version >/dev/null 2>&1; then
    "$python" -m venv --without-pip .venv
elif "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv .venv
else
    echo "This Python has no ensurepip: install it (Debian, Ubuntu: apt-get install python3-venv) or install uv." >&2
    exit 1
fi
