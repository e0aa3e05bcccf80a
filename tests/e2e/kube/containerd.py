"""Puts images into the node's containerd."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.kube import build, layout
from tests.e2e.kube.archive import Image, chain_ids, pack
from tests.e2e.kube.steps import KubeError, run

SNAPSHOTTER = "overlayfs"
ROOT_LABEL = "containerd.io/gc.root"


class Containerd:
    """The containerd of the node whose process 1 is ``pid``."""

    def __init__(self, pid: int) -> None:
        program = build.CONTAINERD.folder() / "ctr"
        enter = ["nsenter", "--target", str(pid), "--mount", "--"]
        self._ctr = [*enter, str(program), "--address", layout.SOCKET, "--namespace", "k8s.io"]

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            self._run("version")
        except KubeError:
            return False
        return True

    def load(self, image: Image, folders: Mapping[str, Path] | None = None) -> None:
        """Import an image, unless it is there.

        Args:
            image: with its layers, or without those that ``folders`` has.
            folders: unpacked layers, by diff id, on the file system where containerd has its own.
        """
        if self._images().get(image.name) == image.digest:
            return
        adopted: list[str] = []
        parent = ""
        for diff_id, chain_id in zip(image.diff_ids, chain_ids(image.diff_ids), strict=True):
            if folders and not self._has_snapshot(chain_id):
                self._adopt(folders[diff_id], chain_id, parent)
                adopted.append(chain_id)
            parent = chain_id
        self._run("images", "import", "--local", "--discard-unpacked-layers", "-", stdin=pack(image))
        for chain_id in adopted:  # from here on the image holds them
            self._run("snapshots", "label", chain_id, f"{ROOT_LABEL}=")
        self._forget_replaced()

    def _adopt(self, folder: Path, chain_id: str, parent: str) -> None:
        """Make a snapshot of an unpacked layer by hard links: seconds, where a tar of five gigabytes takes minutes."""
        key = f"adopting {chain_id}"
        if key in self._run("snapshots", "ls"):  # left by an interrupted call
            self._run("snapshots", "rm", key)
        [mount] = json.loads(self._run("snapshots", "prepare", "--mounts", key, *([parent] if parent else [])))
        options = dict(option.partition("=")[::2] for option in mount["Options"])
        run("cp", "--archive", "--link", f"{folder}/.", options.get("upperdir") or mount["Source"])
        self._run("snapshots", "commit", chain_id, key)

    def _forget_replaced(self) -> None:
        """Images that lost their name go on to be known by their id, and would hold gigabytes of layers for ever."""
        images = self._images()
        named = {digest for name, digest in images.items() if not name.startswith("sha256:")}
        for name, digest in images.items():
            if digest not in named:
                self._run("images", "rm", name)

    def _images(self) -> dict[str, str]:
        """Digests of the images that are there, by name."""
        rows = [line.split() for line in self._run("images", "ls").splitlines()[1:]]
        return {row[0]: row[2] for row in rows}

    def _has_snapshot(self, chain_id: str) -> bool:
        return any(line.startswith(chain_id) for line in self._run("snapshots", "ls").splitlines())

    def _run(self, *command: str, stdin: bytes | None = None) -> str:
        return run(*self._ctr, *command, stdin=stdin)
