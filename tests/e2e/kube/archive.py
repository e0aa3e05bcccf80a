"""Container images as containerd imports them: a tar of an OCI layout. Pure."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Image:
    """An image: its manifest and configuration as bytes, and those layers that are at hand."""

    name: str
    manifest: bytes
    config: bytes
    layers: tuple[bytes, ...] = ()

    @property
    def digest(self) -> str:
        """What names its content."""
        return _digest(self.manifest)

    @property
    def diff_ids(self) -> list[str]:
        """Digests of its layers, uncompressed, the lowest first."""
        return json.loads(self.config)["rootfs"]["diff_ids"]


def of_one_file(name: str, path: str, content: bytes, *, architecture: str, user: str) -> Image:
    """An image that holds a static program and nothing else. The same program gives the same digest."""
    layer = _tar({path.lstrip("/"): content}, mode=0o755)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [path], "User": user},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    encoded = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, encoded),
        "layers": [_descriptor(LAYER, layer)],
    }
    return Image(name, json.dumps(manifest).encode(), encoded, (layer,))


def pack(image: Image) -> bytes:
    """The tar. Layers that are not at hand are left out: whoever imports it must have them unpacked already."""
    entry = {**_descriptor(MANIFEST, image.manifest), "annotations": {"io.containerd.image.name": image.name}}
    blobs = {f"blobs/{_digest(b).replace(':', '/')}": b for b in (image.manifest, image.config, *image.layers)}
    index = {"schemaVersion": 2, "manifests": [entry]}
    layout = {"imageLayoutVersion": "1.0.0"}
    return _tar({"oci-layout": json.dumps(layout).encode(), "index.json": json.dumps(index).encode(), **blobs})


def chain_ids(diff_ids: list[str]) -> list[str]:
    """The name of each layer's snapshot: a digest of the layer and all that are below it."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(_digest(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _tar(files: dict[str, bytes], mode: int = 0o644) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()
