"""The layers in ARCHITECTURE.md: each part may import only from layers below it."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ezcli"
FILES = sorted(PACKAGE.rglob("*.py"))
ALGORITHM = sorted((PACKAGE / "efficientzero").glob("*.py"))
HEAVY = {"torch", "numba", "wandb", "ale_py", "av", "PIL"}


def layers() -> dict[str, set[str]]:
    """The table of ARCHITECTURE.md: part -> what it may import, itself included.

    A name allows all that is in it; the empty name allows everything.
    """
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("## Layers")[2].partition("\n## ")[0]
    may = {"__init__": {"api"}, "__main__": {"cli"}}
    for row in re.findall(r"^\| `(\w+)` \|.*\| (.*?) \|$", section, re.MULTILINE):
        below = {""} if row[1] == "all" else set(re.findall(r"`([\w.]+)`", row[1]))
        may[row[0]] = below | {row[0]}
    return may


MAY = layers()

# part -> what it must not import anywhere, not even inside a function
NEVER: dict[str, set[str]] = {
    "errors": {"pydantic", "numpy"},
    "settings": {"numpy"},
    "efficientzero": {"wandb", "ale_py", "time", "datetime", "random"},
    "envs": {"torch", "numba", "wandb"},
    "config": HEAVY,
    "runs": {"ale_py"},
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


def test_every_layer_is_there() -> None:
    assert MAY.keys() == {part(path) for path in FILES}
    assert MAY["efficientzero"] == {"efficientzero", "errors", "jit", "settings", "state"}
    for below in set().union(*MAY.values()):
        place = PACKAGE / below.replace(".", "/")
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"{below} is gone"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_down(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert part(path) in MAY, f"ezcli.{part(path)} has no row in the table of ARCHITECTURE.md"
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
    assert len(source.splitlines()) <= 220
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) != "print", f"line {node.lineno}: print"


def test_commands_and_configs_load_nothing_heavy() -> None:
    loaded = modules_after("ezcli.cli, ezcli.config.resolve, ezcli.console")
    assert not (HEAVY | {"scipy", "matplotlib"}) & loaded
    assert not (HEAVY | {"matplotlib"}) & modules_after("ezcli.commands.report")
    light = "ezcli.commands.ablate, ezcli.commands.studies, ezcli.doctor, ezcli.runs.cost"
    assert not HEAVY & modules_after(light)


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


def test_kernels_name_what_they_use_of_each_other() -> None:
    """`ezcli.jit` follows names to other files, not attributes of modules."""
    files = [path for path in ALGORITHM if "import kernel\n" in path.read_text(encoding="utf-8")]
    assert {path.stem for path in files} > {"kernels", "puct_kernels"}
    named = {f"ezcli.efficientzero.{path.stem}" for path in files}
    for path in files:
        used = {one for one in imports(ast.walk(ast.parse(path.read_text()))) if "ezcli" in one}
        known = named | {"ezcli.jit", "ezcli.efficientzero.tree"}
        assert {one.rpartition(".")[0] for one in used} <= known, path.name
        assert "tree: Any" not in path.read_text(), "ezcli.jit follows annotations to tuples"
    assert not [path.name for path in ALGORITHM if "njit" in path.read_text(encoding="utf-8")]
