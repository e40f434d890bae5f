"""The README says what the code does."""

import re
from pathlib import Path

import pytest
import typer

import ezcli
from benchmarks.collect import collected
from benchmarks.pool import pooled
from ezcli.cli import app
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.runs.metrics import COLUMNS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every command with its group, such as `config show`."""
    click = typer.main.get_command(app)
    found = []
    for name, command in click.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found += [f"{name} {sub}" for sub in inner] if inner else [name]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"ez {command}" in README


@pytest.mark.parametrize("preset", preset_names())
def test_presets_table_has_the_presets_numbers(preset: str) -> None:
    schedule = resolve(read_toml(preset_path(preset))).schedule
    row = re.search(rf"^\| `{preset}` \|.*$", README, re.MULTILINE)
    assert row, f"{preset} is not in the README"
    cells = [cell.strip() for cell in row.group().strip("|").split("|")]
    assert cells[2:] == [f"{schedule.env_steps:,}", f"{schedule.train_steps:,}"]


def test_columns_table_is_that_of_the_code() -> None:
    _, _, section = README.partition("### Columns of `metrics.jsonl`")
    section, _, _ = section.partition("\n## ")
    assert dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)) == COLUMNS


def test_the_example_environment_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class in the README keeps the contract: a game of it can be played through the door."""
    import numpy as np

    from ezcli.config.resolve import use_env
    from ezcli.envs.make import make_env
    from ezcli.envs.vector import VectorEnv

    code = re.search(r"```python\n(import numpy.*?)```", README, re.DOTALL)
    assert code
    (tmp_path / "corridor.py").write_text(code.group(1))
    monkeypatch.chdir(tmp_path)
    tables = use_env(read_toml(preset_path("catch")), "corridor.py:Corridor", None)
    settings = resolve(tables).env
    envs = VectorEnv(lambda: make_env(settings, False), 2, np.random.default_rng(0))
    envs.start()
    arrivals = [arrival for _ in range(8) for arrival in envs.step([2, 2])]
    assert {arrival.reward for arrival in arrivals if arrival.is_episode_over} == {1.0}


def test_relative_links_lead_somewhere() -> None:
    for file in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{file.name} links to {target}"


def test_the_tables_of_the_results_are_those_of_their_files() -> None:
    page = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    names = re.findall(r"<!-- (benchmarks/results/\S+\.md) -->", page)
    assert names
    assert collected(page) == page
    for name in names:
        assert (ROOT / name).read_text(encoding="utf-8").splitlines()[0] in page


def test_links_within_a_page_lead_to_a_heading() -> None:
    for file in ROOT.glob("*.md"):
        lines = file.read_text(encoding="utf-8").splitlines()
        titles = [line.lstrip("# ").lower() for line in lines if line.startswith("#")]
        headings = {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}
        links = set(re.findall(r"\]\(#([^)]+)\)", "\n".join(lines)))
        assert links <= headings, file.name


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {ezcli.__version__}\n" in (ROOT / "CITATION.cff").read_text(
        encoding="utf-8"
    )


def test_the_pooled_table_is_that_of_its_reports() -> None:
    table = (ROOT / "benchmarks" / "results" / "atari-cpu-pooled.md").read_text(encoding="utf-8")
    assert table == pooled(["atari-cpu", "atari-cpu-seed-2"])
