from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import serve_app

ROOT = Path(__file__).parent.parent
LOCKED = sorted(file for file in (ROOT / "requirements").glob("*.txt") if "-" not in file.stem)
INPUTS = sorted(set((ROOT / "requirements").iterdir()) - set(LOCKED))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def requirements(file: Path) -> dict[str, str]:
    """Each requirement of a locked file: its first line, without what follows it, and the rest."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE)
    blocks = re.split(r"\n(?=\S)", text.strip())
    return {block.split(" \\")[0].split(";")[0].strip(): block for block in blocks}


def name_of(requirement: str) -> str:
    found = re.match(NAME, requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_there_are_locked_files() -> None:
    assert {file.stem for file in LOCKED} == {"cpu", "gpu", "cluster", "bench", "locust", "peers", "dev", "uv"}


@pytest.mark.parametrize("file", [*LOCKED, *INPUTS], ids=lambda file: file.name)
def test_no_file_names_an_index_or_a_host(file: Path) -> None:
    text = re.sub(r"\bgs:// buckets\b", "", file.read_text())
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|(^|\s)-[if]\s|git\+|file:", text)


@pytest.mark.parametrize("file", LOCKED, ids=lambda file: file.name)
def test_everything_is_pinned_and_hashed(file: Path) -> None:
    found = requirements(file)
    assert found
    for requirement, block in found.items():
        assert re.fullmatch(rf"{NAME}(\[[a-z,-]+\])?==[0-9][A-Za-z0-9.!]*", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), requirement


@pytest.mark.parametrize("stack", ["cpu", "gpu"])
def test_the_stacks_hold_what_was_asked_for(stack: str) -> None:
    asked: list[str] = []
    for file in ("base.in", "models.in", f"{stack}.in"):
        lines = (ROOT / "requirements" / file).read_text().splitlines()
        asked += [line for line in lines if line.strip() and not line.startswith("#")]
    locked = {name_of(requirement): requirement for requirement in requirements(ROOT / "requirements" / f"{stack}.txt")}
    for line in asked:
        assert name_of(line) in locked, line
        if "==" in line:
            assert locked[name_of(line)].rpartition("==")[2] == line.rpartition("==")[2]


@pytest.mark.parametrize("stack", ["cpu", "gpu"])
def test_what_is_excluded_stays_out(stack: str) -> None:
    lines = (ROOT / "requirements" / f"{stack}-excludes.txt").read_text().splitlines()
    excluded = {name_of(line) for line in lines if line.strip() and not line.startswith("#")}
    locked = {name_of(requirement) for requirement in requirements(ROOT / "requirements" / f"{stack}.txt")}
    assert excluded
    assert not excluded & locked


def test_the_tools_agree_with_both_stacks() -> None:
    dev = {name_of(requirement): requirement for requirement in requirements(ROOT / "requirements" / "dev.txt")}
    for stack in ("cpu", "gpu"):
        for requirement in requirements(ROOT / "requirements" / f"{stack}.txt"):
            assert dev.get(name_of(requirement), requirement).rpartition("==")[2] == requirement.rpartition("==")[2]


def test_every_package_is_listed_and_there() -> None:
    listed = PROJECT["tool"]["setuptools"]
    for package in listed["packages"]:
        assert (ROOT / package.replace(".", "/") / "__init__.py").is_file()
    for module in listed["py-modules"]:
        assert (ROOT / f"{module}.py").is_file()
    top = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests"}
    files = (file for package in top for file in (ROOT / package).rglob("__init__.py"))
    assert {".".join(file.parent.relative_to(ROOT).parts) for file in files} == set(listed["packages"])
    assert {file.stem for file in ROOT.glob("*.py")} == set(listed["py-modules"])
    assert top <= set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_requirement_files_of_the_extras_are_there() -> None:
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    named = [
        *dynamic["dependencies"]["file"],
        *(f for extra in dynamic["optional-dependencies"].values() for f in extra["file"]),
    ]
    assert [file for file in named if not (ROOT / file).is_file()] == []


def test_entry_points_lead_somewhere() -> None:
    """Read, not imported: some need vLLM."""
    project = PROJECT["project"]
    groups = [project["scripts"], *project["entry-points"].values()]
    for target in [target for group in groups for target in group.values()]:
        module, _, name = target.partition(":")
        file = ROOT / f"{module.replace('.', '/')}.py"
        assert f"def {name}(" in file.read_text(), target


def test_one_version() -> None:
    assert PROJECT["project"]["version"] == serve_app.__version__
