"""The layers, sizes and names that DESIGN's layout promises, read from the source with ast.

Knows the rules below; knows nothing of what the modules do.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "shared", "misc", "base"}
COMPUTE = (
    "engine.image",
    "engine.summary",
    "engine.text",
    "engine.models",
    "engine.jobs",
    "engine.training",
    "engine.evaluation",
    "engine.safety",
    "engine.device",
    "engine.memory",
)
WEIGHTY = ("torch", "transformers", "diffusers", "tokenizers", "safetensors", "gguf", "openai", "huggingface_hub")
DATABASE = ("sqlalchemy", "alembic", "pysqlite3", "psycopg", "sqlite3")

PRODUCT = sorted([*ROOT.glob("engine/**/*.py"), *ROOT.glob("storage/**/*.py"), *ROOT.glob("ui/**/*.py"), *ROOT.glob("launch.py")])
EVERYTHING = sorted([*PRODUCT, *ROOT.glob("tests/**/*.py"), *ROOT.glob("bench/**/*.py")])
PAGES = sorted([*ROOT.glob("assets/**/*.js"), *ROOT.glob("assets/**/*.css")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path, *, typing_too: bool = True) -> Iterator[tuple[int, str]]:
    """Every (line, dotted name) a file imports; `from a import b` gives a and a.b, since b may be a module."""
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree(path)):
        if not typing_too and isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            skipped.update(inner for statement in node.body for inner in ast.walk(statement))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def under(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def breaches(files: list[Path], refused: tuple[str, ...], allowed: tuple[str, ...] = (), *, typing_too: bool = True) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for line, name in imports(path, typing_too=typing_too)
        if under(name, *refused) and not under(name, *allowed) and name not in {a.rsplit(".", 1)[0] for a in allowed}
    ]


def files_of(*packages: str) -> list[Path]:
    return [path for path in PRODUCT if under(module_name(path), *packages)]


def test_only_the_pages_import_gradio() -> None:
    assert not breaches([p for p in PRODUCT if not under(module_name(p), "ui")], ("gradio", "gradio_client"))


def test_pages_import_no_model_and_no_database() -> None:
    assert not breaches(files_of("ui"), (*WEIGHTY, *DATABASE, "engine.bootstrap", "engine.commands"))
    assert not breaches(files_of("ui"), COMPUTE, typing_too=False)
    assert not breaches(files_of("ui"), ("storage",), ("storage.records",))


def test_compute_imports_no_storage() -> None:
    assert not breaches(files_of(*COMPUTE), ("ui", "engine.services", "engine.studio", "engine.bootstrap", *DATABASE))
    assert not breaches(files_of(*COMPUTE), ("storage",), ("storage.records",))


def test_storage_is_a_leaf() -> None:
    assert not breaches(files_of("storage"), ("engine", "ui", "launch", *WEIGHTY))


def test_services_import_no_page_and_load_no_model_library() -> None:
    services = files_of("engine.services", "engine.studio", "engine.bootstrap", "engine.commands")
    assert not breaches(services, ("ui", "launch", *WEIGHTY, *DATABASE))


def test_what_everybody_imports_imports_nobody() -> None:
    leaves = files_of("engine.types", "engine.errors", "engine.settings", "storage.records")
    assert not breaches(leaves, ("engine", "storage", "ui"), ("engine.errors", "engine.types", "storage.records"))


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda p: str(p.relative_to(ROOT)))
def test_file_is_small_and_says_what_it_knows(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_FILE_LINES, f"{len(lines)} lines"
    if lines and path.name != "__init__.py":
        assert ast.get_docstring(tree(path)), "no module docstring"
    too_long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert not too_long
    assert path.stem not in FORBIDDEN_NAMES, "the name says nothing"
    assert not [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Global)], "no `global`"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_script_and_style_are_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("path", [p for p in PRODUCT if "migrations" not in p.parts], ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_have_docstrings(path: Path) -> None:
    bare = [
        f"{node.lineno} {node.name}"
        for scope in [tree(path), *(n for n in tree(path).body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]
        for node in scope.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not (isinstance(scope, ast.ClassDef) and scope.bases)  # what a base class or protocol has said already
    ]
    assert not bare


def test_importing_the_pages_loads_no_torch() -> None:
    heavy = ("torch", "transformers", "diffusers", "sqlalchemy")
    code = f"import sys, ui.app, ui.server; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.strip().splitlines()[-1]
    assert loaded == "[]"


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, runpy\nsys.argv = ['launch.py', '--help']\ntry:\n    runpy.run_path('launch.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "print([m for m in ('torch', 'gradio', 'sqlalchemy') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("path", [p for p in PRODUCT if "versions" not in p.parts], ids=lambda p: str(p.relative_to(ROOT)))
def test_module_imports(path: Path) -> None:
    if path.name == "env.py":  # alembic's entry point: it runs migrations when imported
        return
    assert importlib.import_module(module_name(path))


def test_no_import_cycle_at_module_level() -> None:
    """A module must be importable first, whatever else is: top-level imports of our own modules form no cycle."""
    names = {module_name(path): path for path in PRODUCT}
    edges = {name: {n for _, n in top_level_imports(path) if n in names and n != name} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in sorted(edges[name]):
                visit(target, (*trail, name))
            done.add(name)

    for name in sorted(names):
        visit(name, ())


def top_level_imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in tree(path).body:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
