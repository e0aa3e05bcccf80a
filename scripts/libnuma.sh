#!/bin/sh
# vLLM's CPU engine loads libnuma.so.1, a system library that no Python package brings.
set -eu

there() { python=$(dirname "$0")/../.venv/bin/python; "$python" -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null; }

there && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "==> Installing libnuma1, which vLLM's CPU engine needs"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get install -y libnuma1 || { apt-get update && apt-get install -y libnuma1; }; } >/dev/null 2>&1 || true
fi
there && exit 0
echo "The system library libnuma.so.1 is missing: install it (Debian, Ubuntu: apt-get install libnuma1; Fedora: dnf install numactl-libs)." >&2
exit 1
