"""``make bench`` as a single file, for a machine that only files can be carried to. Edge: files.

``python -m bench.peers.bundle build/bench.pyz`` writes it; ``python bench.pyz --gpu ...`` runs it there, with that
machine's own Python, vLLM and Ray. It unpacks itself, and takes the options of ``python -m bench.peers``.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "models", "serve_app", "kuberay", "cluster", "deploy")
MODULES = ("switchyard.py", "service_file.py")
START = '''"""Unpacks this file below $BENCH_FOLDER (default: ./bench-files), and runs the bench from there."""

import os
import sys
import zipfile
from pathlib import Path

folder = Path(os.environ.get("BENCH_FOLDER", "bench-files")).absolute()
with zipfile.ZipFile(Path(__file__).parent) as packed:
    packed.extractall(folder / "code")
code, programs = folder / "code", folder / "bin"
programs.mkdir(exist_ok=True)
for name, given in (("python", ""), ("vllm", "-m vllm.entrypoints.cli.main"), ("switchyard", "-m switchyard")):
    program = programs / name
    program.write_text(f'#!/bin/sh\\nexec "{sys.executable}" {given} "$@"\\n')
    program.chmod(0o755)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH", "")]))
places = ["--programs", programs, "--runs", folder / "runs", "--result", folder / "bench.json"]
os.execv(sys.executable, [sys.executable, "-m", "bench.peers", *map(str, places), *sys.argv[1:]])
'''


def write(to: Path) -> None:
    """Write the file."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("__main__.py", START)
        for package in PACKAGES:
            for file in sorted((ROOT / package).rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    packed.write(file, file.relative_to(ROOT))
        for module in MODULES:
            packed.write(ROOT / module, module)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
