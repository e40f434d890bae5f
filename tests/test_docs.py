"""Documents match the code: commands parse, links are valid, examples work."""

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from packaging.utils import canonicalize_name

import ezcli
from benchmarks import collect
from benchmarks.pool import pooled
from docs.site import decisions, equations, hooks, prose, reference
from ezcli.cli import app
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.names import all_keys
from ezcli.config.resolve import resolve
from ezcli.experiments.ablations import ablation_names, parts
from ezcli.runs.metrics import COLUMNS
from tests.documents import HISTORY, PAGES, ROOT, commands

README = PAGES["README.md"]
COMMANDS = [
    (page, line) for page in PAGES if page not in HISTORY for line in dict.fromkeys(commands(page))
]


@pytest.fixture(scope="module")
def command_line() -> Any:
    """The command line with commands that do nothing."""

    def leaves(command: Any) -> Iterator[Any]:
        yield command
        for inner in getattr(command, "commands", {}).values():
            yield from leaves(inner)

    group = typer.main.get_command(app)
    for command in leaves(group):
        command.callback = lambda *args, **kwargs: None
    for parameter in group.params:
        if parameter.name in ("install_completion", "show_completion"):
            parameter.callback = None  # it would write to the user's shell
    return group


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_in_the_documents_parses(command_line: Any, page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command_line.main(args=words, prog_name="ez", standalone_mode=False)
    for option, value in pairwise(words):
        if option in ("--set", "--vary"):
            assert value.partition("=")[0] in all_keys(), page
        if option == "--preset" and not value.endswith(".toml"):
            assert value in preset_names(), page
        if option == "--drop":
            named = {one for one in parts(value) if not one.endswith(".toml")}
            assert named <= {*ablation_names(), "a", "NAME"}, page


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in PAGES.items():
        named = re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)
        assert set(named) <= targets, page


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 900


def test_the_reference_has_every_command_setting_column_and_preset() -> None:
    pages = reference.pages()
    for words in reference.all_commands():
        assert f"## {words}\n" in pages["reference/commands.md"]
    settings = pages["reference/settings.md"] + pages["reference/environments.md"]
    for key in all_keys():
        assert f"| `{key}` |" in settings
    for column, about in COLUMNS.items():
        assert f"| `{column}` | {about} |" in pages["reference/metrics.md"]
    for preset in preset_names():
        schedule = resolve(read_toml(preset_path(preset))).schedule
        row = re.search(rf"^\| `{preset}` \|.*$", pages["reference/presets.md"], re.MULTILINE)
        assert row, preset
        assert row.group().endswith(f"| {schedule.env_steps:,} | {schedule.train_steps:,} |")


def test_no_code_of_an_error_is_missing_in_the_reference() -> None:
    listed = set(re.findall(r"^\| `(EZ-[^`]+)`", reference.errors(), re.MULTILINE))
    lines = (ROOT / "tests" / "errors.txt").read_text(encoding="utf-8").splitlines()
    assert listed == {line.partition(":")[0] for line in lines}


def test_every_equation_can_be_drawn() -> None:
    found = {formula for text in PAGES.values() for formula in equations.formulas(text)}
    assert found
    for formula in found:
        width, height, depth = equations.measured(formula)
        assert width > depth > 0 < height, formula
    marked, drawn = equations.take_out("See $`x_t`$.\n\n```math\ny = x_t\n```\n")
    assert "x_t" not in marked
    assert all("currentColor" in svg for svg in drawn.values())
    assert len(drawn) == 2


def test_decisions_are_numbered_whole_and_listed() -> None:
    found = decisions.records()
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert {one.fields for one in found} == {decisions.FIELDS}
    assert decisions.INDEX.read_text(encoding="utf-8") == decisions.index()


def test_the_checker_of_prose_finds_phrases_and_long_sentences() -> None:
    text = (
        "# A loss\n\nIt is no\nnumber. `no number`\n\n```\nno number\n```\n\n" + "word " * 41 + "\n"
    )
    found = list(prose.complaints("page.md", text))
    assert [line.partition(": ")[0] for line in found] == ["page.md:3", "page.md:10"]
    assert list(prose.complaints("errors", "It went on.", is_document=False)) == []


def test_the_checker_of_prose_reads_every_kind_of_docstring() -> None:
    found = dict(prose.docstrings())
    assert found["ezcli/words.py, docstring of counted"].startswith("Formats a count")
    assert found["ezcli/state.py, docstring of module"].startswith("The state of each part")
    assert "ezcli/state.py, docstring of Part" in found


def test_the_example_environment_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class in the tutorial keeps the contract: a game of it can be played through the door."""
    import numpy as np

    from ezcli.config.resolve import use_env
    from ezcli.envs.make import make_env
    from ezcli.envs.vector import VectorEnv

    text = PAGES["docs/tutorials/your-own-environment.md"]
    code = re.search(r"```python\n(import numpy.*?)```", text, re.DOTALL)
    assert code
    (tmp_path / "corridor.py").write_text(code.group(1))
    monkeypatch.chdir(tmp_path)
    tables = use_env(read_toml(preset_path("catch")), "corridor.py:Corridor", None)
    settings = resolve(tables).env
    envs = VectorEnv(lambda: make_env(settings, False), 2, np.random.default_rng(0))
    envs.start()
    arrivals = [arrival for _ in range(8) for arrival in envs.step([2, 2])]
    assert {arrival.reward for arrival in arrivals if arrival.is_episode_over} == {1.0}


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    lines = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL).splitlines()
    titles = [line.lstrip("# ").lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def test_links_lead_to_a_file_and_a_heading() -> None:
    for page, text in PAGES.items():
        for _, target, _ in hooks.LINK.findall(text):
            if "://" in target:
                continue
            path = hooks.place_of(target, page) or page
            assert (ROOT / path).exists(), f"{page} links to {target}"
            _, _, anchor = target.partition("#")
            if anchor and path.endswith(".md"):
                assert anchor in headings((ROOT / path).read_text(encoding="utf-8")), (
                    f"{page}: {target}"
                )


def test_the_site_has_every_page() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {hooks.site_place(page) for page in PAGES if page.startswith("docs/")}
    for page in pages | set(reference.pages()) | set(hooks.PAGES.values()):
        assert f": {page}\n" in nav, page


def test_the_tables_of_the_results_are_those_of_their_files() -> None:
    for path in collect.PAGES:
        page = path.read_text(encoding="utf-8")
        names = re.findall(r"<!-- (benchmarks/results/\S+\.md) -->", page)
        assert names
        assert collect.collected(page) == page
        for name in names:
            assert (ROOT / name).read_text(encoding="utf-8").splitlines()[0] in page


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {ezcli.__version__}\n" in (ROOT / "CITATION.cff").read_text(
        encoding="utf-8"
    )


def test_the_pooled_table_is_that_of_its_reports() -> None:
    table = (ROOT / "benchmarks" / "results" / "atari-cpu-pooled.md").read_text(encoding="utf-8")
    assert table == pooled(["atari-cpu", "atari-cpu-seed-2"])


def test_the_lock_has_the_pins_of_the_constraints() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        found = [line.split()[0].partition("==") for line in lines if "==" in line.split("#")[0]]
        return {
            canonicalize_name(package): version.partition("+")[0] for package, _, version in found
        }

    locked, constraints = pins("requirements.lock"), pins("constraints.txt")
    del locked["setuptools"]  # constraints.txt leaves it to pip
    assert locked.items() <= constraints.items()
    assert {"torch", "numba", "wandb", "ale-py"} <= locked.keys()
