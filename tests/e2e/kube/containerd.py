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

    def has(self, image: Image) -> bool:
        """Whether it has this very content by this name."""
        return any(line.split()[0] == image.name and image.digest in line for line in self._run("images", "ls").splitlines()[1:])

    def load(self, image: Image, folders: Mapping[str, Path] | None = None) -> None:
        """Import an image, unless it is there.

        Args:
            image: with its layers, or without those that ``folders`` has.
            folders: unpacked layers, by diff id, on the file system where containerd has its own.
        """
        if self.has(image):
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

    def _adopt(self, folder: Path, chain_id: str, parent: str) -> None:
        """Make a snapshot out of an unpacked layer by hard links: seconds, where a tar of five gigabytes takes minutes."""
        key = f"adopting {chain_id}"
        if key in self._run("snapshots", "ls"):  # left by an interrupted call
            self._run("snapshots", "rm", key)
        [mount] = json.loads(self._run("snapshots", "prepare", "--mounts", key, *([parent] if parent else [])))
        options = dict(option.partition("=")[::2] for option in mount["Options"])
        run("cp", "--archive", "--link", f"{folder}/.", options.get("upperdir") or mount["Source"])
        self._run("snapshots", "commit", chain_id, key)

    def _has_snapshot(self, chain_id: str) -> bool:
        return any(line.startswith(chain_id) for line in self._run("snapshots", "ls").splitlines())

    def _run(self, *command: str, stdin: bytes | None = None) -> str:
        return run(*self._ctr, *command, stdin=stdin)
