"""The layers of ARCHITECTURE.md: each part may import only what stands below it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ezcli"
FILES = sorted(PACKAGE.rglob("*.py"))
ALGORITHM = sorted((PACKAGE / "efficientzero").glob("*.py"))
HEAVY = {"torch", "numba", "wandb", "ale_py", "cv2", "av", "PIL"}
EVERYTHING = {""}

# part -> what it may import of ezcli. A name allows itself and all that is in it.
MAY: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "files": set(),
    "settings": set(),
    "words": set(),
    "trust": {"errors"},
    "schema": {"errors"},
    "jit": set(),
    "efficientzero": {"efficientzero", "jit", "settings", "errors"},
    "envs": {"envs", "settings", "errors"},
    "config": {
        "schema",
        "efficientzero.hyperparameters",
        "efficientzero.squash",
        "envs.settings",
        "envs.games",
        "settings",
        "errors",
        "files",
    },
    "runs": {
        "schema",
        "runs",
        "efficientzero",
        "envs",
        "config",
        "files",
        "jit",
        "settings",
        "errors",
        "words",
    },
    "experiments": {
        "experiments",
        "runs.folder",
        "runs.lock",
        "trust",
        "config",
        "files",
        "settings",
        "errors",
        "words",
    },
    "reports": {
        "reports",
        "experiments",
        "runs.folder",
        "envs.games",
        "config",
        "files",
        "settings",
        "errors",
        "words",
    },
    "film": {"film", "runs.watch", "errors", "files"},
    "bench": {"bench", "runs", "efficientzero", "envs", "config", "words"},
    "doctor": {"envs", "config", "jit", "errors", "words"},
    "console": EVERYTHING,
    "commands": EVERYTHING,
    "cli": {"", "commands", "console", "errors"},
}

# part -> what it must not import anywhere, not even inside a function
NEVER: dict[str, set[str]] = {
    "errors": {"pydantic", "numpy"},
    "settings": {"numpy"},
    "efficientzero": {"wandb", "ale_py", "cv2", "time", "datetime", "random"},
    "envs": {"torch", "numba", "wandb"},
    "config": HEAVY,
    "runs": {"ale_py", "cv2"},
    "experiments": HEAVY,
    "reports": HEAVY,
    "film": HEAVY - {"av", "PIL"},
}

# part -> what it must not import when it is loaded; inside a function it may
LATER: dict[str, set[str]] = {
    "runs": {"wandb"},
    "doctor": HEAVY,
    "console": HEAVY | {"scipy", "matplotlib"},
    "commands": HEAVY | {"matplotlib", "jinja2"},
    "cli": HEAVY | {"pydantic", "rich", "numpy"},
}

ONLY_IN = {"rich": "console", "typer": "cli", "av": "film", "PIL": "film"}


def part(path: Path) -> str:
    """The part of ezcli that a file belongs to: its folder, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(nodes: Iterator[ast.AST] | list[ast.AST]) -> set[str]:
    """Full dotted names of what is imported, the imported object included."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_load_time(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs when a module is imported: no function bodies, nothing for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_load_time(child)


def heads(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def name(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_down(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert part(path) in MAY, f"ezcli.{part(path)} has no layer yet: give it one in MAY"
    may = {f"ezcli.{below}".rstrip(".") for below in MAY[part(path)]} | {"ezcli.__version__"}
    everything = imports(ast.walk(tree))
    for used in sorted(x for x in everything if x.split(".")[0] == "ezcli"):
        assert any(f"{used}.".startswith(f"{below}.") for below in may), f"imports {used}"
    assert not heads(everything) & NEVER.get(part(path), set())
    assert not heads(imports(at_load_time(tree))) & LATER.get(part(path), set())


@pytest.mark.parametrize("path", FILES, ids=name)
def test_one_place_draws_and_one_knows_the_command_line(path: Path) -> None:
    used = heads(imports(ast.walk(ast.parse(path.read_text()))))
    for library, home in ONLY_IN.items():
        assert library not in used or part(path) == home, f"{library} belongs in ezcli.{home}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_error_is_swallowed_unseen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"


@pytest.mark.parametrize("path", ALGORITHM, ids=name)
def test_the_algorithm_is_silent_and_short(path: Path) -> None:
    source = path.read_text()
    longest = 300 if path.name == "kernels.py" else 220  # kernels cannot call another file's
    assert len(source.splitlines()) <= longest
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) != "print", f"line {node.lineno}: print"


def test_commands_and_configs_load_nothing_heavy() -> None:
    loaded = modules_after("ezcli.cli, ezcli.config, ezcli.console")
    assert not (HEAVY | {"scipy", "matplotlib"}) & loaded
    assert not (HEAVY | {"matplotlib"}) & modules_after("ezcli.commands.report")


def modules_after(imported: str) -> set[str]:
    program = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_film_is_drawn_without_the_algorithm() -> None:
    program = "import sys, ezcli.film.drawing, ezcli.film.video; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torch", "numba", "ezcli.efficientzero"} & set(done.stdout.split())


def test_kernels_use_no_other_file() -> None:
    """Numba's cache on disk would not notice a change there."""
    kernels = PACKAGE / "efficientzero" / "kernels.py"
    used = imports(ast.walk(ast.parse(kernels.read_text())))
    assert {name for name in used if name.startswith("ezcli")} == {"ezcli.jit.kernel"}
    users = [path.name for path in ALGORITHM if "@kernel" in path.read_text(encoding="utf-8")]
    assert users == ["kernels.py"]
    assert not [path.name for path in ALGORITHM if "njit" in path.read_text(encoding="utf-8")]
