#!/bin/sh
# What `make kube-up` needs of the system: a container runtime, CNI plugins, and what images are built with.
set -eu
cd "$(dirname "$0")/.."

packages="buildah containernetworking-plugins iproute2 iptables mmdebstrap runc util-linux"
there() { .venv/bin/python -m tests.e2e.kube needs; }

there 2>/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "==> Installing what a local Kubernetes needs: $packages"
    export DEBIAN_FRONTEND=noninteractive
    install="apt-get install -y --no-install-recommends $packages"
    { $install || { apt-get update && $install; }; } >/dev/null 2>&1 || true
fi
there
