"""What each module may bring in when it is imported, and the house rules that no linter keeps."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [ROOT / "switchyard.py", ROOT / "service_file.py"]
PACKAGES = ("serve_app", "models", "kuberay", "cluster", "bench")
FILES = sorted([*MODULES, *(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))])
MAX_LINES = 320
HEAVY = ("ray", "vllm", "torch", "transformers", "huggingface_hub", "numpy")
WEB = ("fastapi", "starlette", "uvicorn")


def loaded(statement: str, names: tuple[str, ...]) -> list[str]:
    code = f"{statement}\nimport sys\nprint(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "modules",
    [
        "serve_app",
        "serve_app.config, serve_app.load, serve_app.schema, serve_app.errors, serve_app.engine",
        "serve_app.guard, serve_app.body, serve_app.json_schemas",
        "serve_app.engine_options, serve_app.environment, serve_app.run_environment, serve_app.progress",
        "serve_app.chat, serve_app.cli, serve_app.preflight, serve_app.lifetime, serve_app.haproxy, switchyard",
        "serve_app.cpu_platform, models.store, models.tiny, models.embedded",
        "kuberay.config, kuberay.manifests.manifest, kuberay.manifests.rules, kuberay.snapshot, kuberay.cli.changes",
    ],
)
def test_light_modules(modules: str) -> None:
    assert loaded(f"import {modules}", (*HEAVY, *WEB, "kubernetes", "google.auth")) == []


def test_the_local_server_and_the_routes_do_without_the_engine() -> None:
    assert loaded("import serve_app.local", HEAVY) == []
    assert loaded("import serve_app.http", HEAVY) == []


def test_the_service_file_is_read_without_any_of_the_packages() -> None:
    """import-linter's contracts are for packages; this one is for a module."""
    tree = ast.parse((ROOT / "service_file.py").read_text())
    named = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    named += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = {file.stem for file in MODULES} | {folder.parent.name for folder in ROOT.glob("*/__init__.py")}
    assert {"serve_app", "models", "switchyard"} <= ours
    assert {name.split(".")[0] for name in named} & ours == set()


def test_the_package_has_no_other_names_than_the_two_that_ray_serve_asks_for() -> None:
    import serve_app

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        serve_app.nothing  # noqa: B018


def test_every_module_is_small() -> None:
    long = {place(file): lines for file in FILES if (lines := len(file.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [place(file) for file in FILES if not ast.get_docstring(ast.parse(file.read_text()))] == []


MAY_PRINT = {
    "switchyard.py",
    "bench/cli.py",
    "bench/cli_planning.py",
    "bench/cli_running.py",
    "bench/peers/cli.py",
    "bench/peers/parts.py:main",  # a command of its own, for docs/performance.md
    "bench/terminal.py",
    "cluster/cli/commands.py",
    "cluster/cli/in_kubernetes.py",
    "cluster/cli/running.py",
    "cluster/cli/terminal.py",
    "kuberay/cli/changes.py",
    "kuberay/cli/common.py",
    "kuberay/cli/deciding.py",
    "kuberay/cli/forward.py",
    "kuberay/cli/look.py",
    "kuberay/cli/report.py",
    "kuberay/cli/rollout.py",
    "serve_app/cli.py",
    "serve_app/chat.py:say",
    "serve_app/chat.py:loop",
    "models/readable.py:main",  # a command of its own, for a pod
    "bench/peers/handle.py:main",  # a process of its own, whose parent listens
    "serve_app/vllm_args.py:_said",  # stdout is how a checking process hands its finding to its parent
}


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def printers(file: Path) -> set[str]:
    """``package/file.py:function`` of each print() and each use of sys.stdout or sys.stderr."""
    found: set[str] = set()

    def visit(node: ast.AST, function: str) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        prints = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        writes = (
            isinstance(node, ast.Attribute)
            and node.attr in ("stdout", "stderr")
            and isinstance(node.value, ast.Name)
            and node.value.id == "sys"
        )
        if prints or writes:
            found.add(f"{place(file)}:{function}")
        for child in ast.iter_child_nodes(node):
            visit(child, function)

    visit(ast.parse(file.read_text()), "")
    return found


def test_only_the_command_line_prints() -> None:
    found = {name for file in FILES if place(file) not in MAY_PRINT for name in printers(file)}
    assert found <= MAY_PRINT


def test_no_test_patches_and_no_code_asserts() -> None:
    """A fake is passed in instead; and ``assert`` is gone under ``python -O``."""
    tests = [file for file in (ROOT / "tests").rglob("test_*.py") if "mock." + "patch" in file.read_text()]
    assert tests == []
    asserting = [place(f) for f in FILES if any(isinstance(n, ast.Assert) for n in ast.walk(ast.parse(f.read_text())))]
    assert asserting == []
