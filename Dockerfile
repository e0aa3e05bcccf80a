# The image whose containers are the Ray nodes of a RayService: the pinned serve stack and this project, nothing else.
#
#   docker build -t switchyard .                          for NVIDIA GPUs
#   docker build -t switchyard --build-arg STACK=cpu .    for CPUs
#
# An index or a certificate authority of your own are secrets of the build, which stay out of the image:
# --secret id=index.env,src=FILE (lines like PIP_INDEX_URL=... and UV_DEFAULT_INDEX=...), --secret id=ca.crt,src=FILE.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}
ARG STACK=gpu

# libnuma1 for vLLM's CPU engine, wget for KubeRay's probes, a C compiler for the kernels that Triton makes on a GPU.
RUN set -e; \
    wanted="libnuma1 wget"; \
    if [ "$STACK" = gpu ]; then wanted="$wanted gcc libc6-dev"; fi; \
    if ! dpkg -s $wanted >/dev/null 2>&1; then \
        apt-get update; \
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $wanted; \
        rm -rf /var/lib/apt/lists/*; \
    fi; \
    useradd --uid 1000 --create-home --shell /bin/bash ray

# The dependencies, a layer that only changes with the lock file. Bytecode is compiled here: the user who runs may not
# write it, and without it each of vLLM's processes compiles torch and vLLM again at every start.
COPY requirements/uv.txt requirements/${STACK}.txt /opt/requirements/
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=index.env \
    --mount=type=secret,id=ca.crt \
    set -e; \
    if [ -f /run/secrets/index.env ]; then set -a; . /run/secrets/index.env; set +a; fi; \
    if [ -f /run/secrets/ca.crt ]; then export SSL_CERT_FILE=/run/secrets/ca.crt PIP_CERT=/run/secrets/ca.crt; fi; \
    python3 -m venv /opt/switchyard; \
    /opt/switchyard/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
        --target /tmp/uv -r /opt/requirements/uv.txt; \
    /tmp/uv/bin/uv pip install --python /opt/switchyard --link-mode copy --compile-bytecode \
        --no-deps --require-hashes --only-binary :all: -r /opt/requirements/${STACK}.txt; \
    rm -rf /tmp/uv

# GKE mounts a GPU node's driver at /usr/local/nvidia.
ENV PATH=/opt/switchyard/bin:/usr/local/nvidia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    RAY_SERVE_HAPROXY_BINARY_PATH=/opt/switchyard/bin/switchyard-haproxy

# Installed where it stands, as in a checkout: deploy/local.yaml is found beside the packages.
COPY . /opt/src
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --no-index --no-deps --no-build-isolation \
        --config-settings editable_mode=compat -e /opt/src; \
    python -m compileall -q /opt/src

USER ray
WORKDIR /home/ray
