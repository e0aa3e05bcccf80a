"""The images that pods use: the product's own, built from the Dockerfile of this repository, and two of one program."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.kube import build, holder, layout
from tests.e2e.kube.archive import Image, of_one_file
from tests.e2e.kube.components import PAUSE_IMAGE
from tests.e2e.kube.steps import run, step

STORAGE = layout.IMAGES / "storage"
SCRATCH = layout.IMAGES / "tmp"
SETTINGS = layout.IMAGES / "storage.conf"

SWITCHYARD = "docker.io/library/switchyard:e2e"
OPERATOR = "docker.io/library/kuberay-operator:local"
TRAEFIK = "docker.io/library/traefik:local"
SUITE = "bookworm"
PACKAGES = "ca-certificates,libnuma1,python3,python3-venv,wget"
BASE = f"localhost/switchyard-base:{hashlib.sha256(f'{SUITE} {PACKAGES}'.encode()).hexdigest()[:12]}"
"""Stands for python:slim, which would have to be fetched from a registry of images."""
ARCHITECTURE = "arm64" if os.uname().machine == "aarch64" else "amd64"


def pause() -> Image:
    """What holds a pod's namespaces."""
    return of_one_file(
        PAUSE_IMAGE, "/pause", (build.PAUSE.folder() / "pause").read_bytes(), architecture=ARCHITECTURE, user="65535"
    )


def operator() -> Image:
    """KubeRay's operator."""
    program = (build.OPERATOR.folder() / "kuberay-operator").read_bytes()
    return of_one_file(OPERATOR, "/manager", program, architecture=ARCHITECTURE, user="65532")


def traefik() -> Image:
    """What implements the Gateway API. As root, since it listens at port 80."""
    program = (build.TRAEFIK.folder() / "traefik").read_bytes()
    return of_one_file(TRAEFIK, "/traefik", program, architecture=ARCHITECTURE, user="0")


def switchyard() -> tuple[Image, Mapping[str, Path]]:
    """Build the Dockerfile, as far as something changed, and return the image with its layers' folders, by diff id."""
    _prepare()
    _buildah("rm", "--all")  # of a build that failed or was ended; they would hold old layers, and block the prune
    if not _buildah("images", "--quiet", "--filter", f"reference={BASE}").strip():
        with step("making the base image from Debian packages"):
            _make_base()
    with step("building the image from the Dockerfile"), _secrets() as secrets:
        arguments = ["--build-arg", f"BASE={BASE}", "--build-arg", "STACK=cpu", *secrets, "--tag", SWITCHYARD]
        _buildah("bud", "--isolation", "chroot", "--layers", "--pull-never", *arguments, str(holder.ROOT))
    facts = json.loads(_buildah("inspect", "--type", "image", SWITCHYARD))
    _buildah("rmi", "--prune")
    image = Image(SWITCHYARD, facts["Manifest"].encode(), facts["Config"].encode())
    return image, _folders(facts["FromImageID"])


def _make_base() -> None:
    archive = SCRATCH / "base.tar"
    archive.unlink(missing_ok=True)
    run("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={PACKAGES}", SUITE, archive)
    container = _buildah("from", "scratch").strip()
    try:
        _buildah("add", "--quiet", container, str(archive), "/")
        _buildah("commit", "--quiet", "--disable-compression", container, BASE)
    finally:
        _buildah("rm", container)
        archive.unlink()


def _prepare() -> None:
    # This machine's cache of uv, where buildah keeps the Dockerfile's cache mount: nothing is fetched twice.
    mounted = SCRATCH / "buildah-cache" / "root" / ".cache"
    mounted.mkdir(parents=True, exist_ok=True)
    cache = Path(os.environ.get("UV_CACHE_DIR") or layout.CACHE.parents[1] / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    link = mounted / "uv"
    link.unlink(missing_ok=True)
    link.symlink_to(cache)
    # redirect_dir, metacopy: with either, a layer's folder would not hold all of the layer.
    SETTINGS.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORAGE}"\nrunroot = "{SCRATCH}/run"\n'
        '[storage.options.overlay]\nmountopt = "redirect_dir=off,metacopy=off"\n'
    )


@contextmanager
def _secrets() -> Iterator[list[str]]:
    """What this machine needs to reach its package index; none of it gets into the image."""
    names = [n for n in os.environ if re.fullmatch(r"(PIP|UV)_.*INDEX.*|(HTTPS?|NO)_PROXY", n, re.IGNORECASE)]
    with tempfile.NamedTemporaryFile("w", dir=SCRATCH) as index:
        index.write("".join(f"{name}='{os.environ[name]}'\n" for name in names))
        index.flush()
        secrets = ["--secret", f"id=index.env,src={index.name}"]
        if authority := os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT"):
            secrets += ["--secret", f"id=ca.crt,src={authority}"]
        yield secrets


def _folders(image_id: str) -> dict[str, Path]:
    """Where buildah's storage has the layers of an image, unpacked."""
    images = json.loads((STORAGE / "overlay-images" / "images.json").read_text())
    layers = {layer["id"]: layer for layer in json.loads((STORAGE / "overlay-layers" / "layers.json").read_text())}
    layer = layers[next(image["layer"] for image in images if image["id"] == image_id)]
    folders: dict[str, Path] = {}
    while layer:
        folders[layer["diff-digest"]] = STORAGE / "overlay" / layer["id"] / "diff"
        layer = layers.get(layer.get("parent", ""))
    return folders


def _buildah(*arguments: str) -> str:
    # In a mount namespace of its own: buildah leaves its storage mounted.
    environ = {**os.environ, "CONTAINERS_STORAGE_CONF": str(SETTINGS), "TMPDIR": str(SCRATCH)}
    alone = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    return run(*alone, "buildah", *arguments, env=environ)
