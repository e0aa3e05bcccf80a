"""The images that pods use: the product's own, built from the Dockerfile of this repository, and two of one program."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.kube import build, layout
from tests.e2e.kube.archive import Image, of_one_file
from tests.e2e.kube.components import PAUSE_IMAGE
from tests.e2e.kube.steps import KubeError, run, step

ROOT = Path(__file__).resolve().parents[3]
STORAGE = layout.IMAGES / "storage"
SCRATCH = layout.IMAGES / "tmp"
SETTINGS = layout.IMAGES / "storage.conf"

SWITCHYARD = "docker.io/library/switchyard:e2e"
OPERATOR = "docker.io/library/kuberay-operator:local"
BASE = "localhost/switchyard-base"
SUITE = "bookworm"
PACKAGES = "ca-certificates,libnuma1,python3,python3-venv,wget"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def pause() -> Image:
    """What holds a pod's namespaces."""
    return of_one_file(PAUSE_IMAGE, "/pause", (build.PAUSE.folder() / "pause").read_bytes(), architecture=ARCHITECTURE, user="65535")


def operator() -> Image:
    """KubeRay's operator."""
    program = (build.OPERATOR.folder() / "ray-operator").read_bytes()
    return of_one_file(OPERATOR, "/manager", program, architecture=ARCHITECTURE, user="65532")


def switchyard() -> tuple[Image, Mapping[str, Path]]:
    """Build the Dockerfile, as far as something changed, and return the image with its layers' folders, by diff id."""
    _prepare()
    if not _buildah("images", "--quiet", "--filter", f"reference={BASE}").strip():
        with step("making the base image from Debian packages"):
            _make_base()
    with step("building the image from the Dockerfile"):
        _buildah(
            "bud", "--isolation", "chroot", "--layers", "--pull-never", "--build-arg", f"BASE={BASE}", "--build-arg", "STACK=cpu",
            *_secrets(), "--tag", SWITCHYARD, str(ROOT),
        )  # fmt: skip
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
    # uv's cache of this machine, in the place where buildah keeps the Dockerfile's cache mount: nothing is fetched twice.
    mounted = SCRATCH / "buildah-cache" / "root" / ".cache"
    mounted.mkdir(parents=True, exist_ok=True)
    cache = Path(os.environ.get("UV_CACHE_DIR") or layout.CACHE.parents[1] / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    link = mounted / "uv"
    if not link.is_symlink():
        link.symlink_to(cache)
    # redirect_dir, metacopy: with either, a layer's folder would not hold all of the layer.
    SETTINGS.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORAGE}"\nrunroot = "{SCRATCH}/run"\n'
        '[storage.options.overlay]\nmountopt = "redirect_dir=off,metacopy=off"\n'
    )


def _secrets() -> list[str]:
    """What this machine needs to reach its package index; none of it gets into the image."""
    index = SCRATCH / "index.env"
    wanted = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "HTTPS_PROXY", "https_proxy", "NO_PROXY")
    index.touch(mode=0o600)
    index.write_text("".join(f"{name}='{os.environ[name]}'\n" for name in wanted if name in os.environ))
    secrets = ["--secret", f"id=index.env,src={index}"]
    authority = os.environ.get("SSL_CERT_FILE") or os.environ.get("PIP_CERT")
    return [*secrets, "--secret", f"id=ca.crt,src={authority}"] if authority else secrets


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
    if not shutil.which("buildah"):
        raise KubeError("buildah is missing: run scripts/kube-needs.sh.")
    # In a mount namespace of its own: buildah leaves its storage mounted.
    environ = {**os.environ, "CONTAINERS_STORAGE_CONF": str(SETTINGS), "TMPDIR": str(SCRATCH)}
    return run("unshare", "--mount", "--fork", "--pid", "--kill-child", "--mount-proc", "buildah", *arguments, env=environ)
