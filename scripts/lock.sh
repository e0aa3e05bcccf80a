#!/bin/sh
# Regenerates requirements/*.txt from requirements/*.in (make lock).
set -eu
cd "$(dirname "$0")/.."

lock() { # NAME, uv's arguments...
    name=$1; shift
    echo "==> requirements/$name.txt"
    # --output-file keeps the versions that the file has, unless UPGRADE=1.
    scripts/uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: --generate-hashes \
        --no-emit-index-url --no-header ${UPGRADE:+--upgrade} --output-file "requirements/$name.txt" "$@"
    # Every line bears the markers of [tool.uv] environments: drop them, so that what is left tells something,
    # and so that an unsupported machine gets an error rather than nothing installed.
    machines="implementation_name == 'cpython' and \(\(platform_machine == 'aarch64' .* sys_platform == 'linux'\)\)"
    sed -E -i -e "s/ ; python_full_version < '3\.14' and $machines//" -e "s/ and $machines//" \
        -e "s/python_full_version < '3\.14' and implementation_name == 'cpython' and (platform_machine == '[a-z0-9_]+') and .*'linux'/\1/" \
        -e "1i # Locked by \`make lock\` from requirements/*.in, for CPython 3.11 to 3.13 on Linux, x86_64 and aarch64." \
        "requirements/$name.txt"
}

lock uv requirements/uv.in
lock cpu requirements/base.in requirements/models.in requirements/cpu.in \
    --overrides requirements/cpu-overrides.txt --excludes requirements/cpu-excludes.txt
lock gpu requirements/base.in requirements/models.in requirements/gpu.in \
    --excludes requirements/gpu-excludes.txt
# Not constrained by gpu.txt: kubernetes wants python-dateutil 3 or newer, botocore (of vllm[runai]) an older one.
lock cluster requirements/cluster.in --constraints requirements/cpu.txt
lock bench requirements/bench.in --constraints requirements/cpu.txt --constraints requirements/gpu.txt
# Next to whatever else is installed: only Locust and what it brings.
lock locust requirements/locust.in --constraints requirements/cpu.txt --constraints requirements/gpu.txt
# Beside the serve stack, in a folder of its own: what the stack has already is left out.
lock peers requirements/peers.in --constraints requirements/cpu.txt --constraints requirements/gpu.txt \
    --excludes requirements/peers-excludes.txt
lock dev requirements/dev.in --constraints requirements/cpu.txt --constraints requirements/gpu.txt \
    --constraints requirements/cluster.txt
