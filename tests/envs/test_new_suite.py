"""A suite is one value: a new one can be trained, evaluated and reported without other changes."""

import ast
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.envs.settings import EnvSettings
from ezcli.envs.suite import Benchmark, DefaultPreset, Games, Normalisation, Reference, Suite
from ezcli.envs.suites import SUITES, check_env, check_game
from ezcli.reports.choice import Choice
from ezcli.reports.collect import collect
from ezcli.reports.published import DEFAULT_AGAINST, agents_named
from ezcli.reports.report import build
from ezcli.runs.scoring import evaluate_run
from tests.failing import fails
from tests.runs.helpers import TINY, run

PACKAGE = Path(__file__).parents[2] / "ezcli"
OWN_FILES = {"atari", "atari_suite", "catch", "custom", "custom_suite", "gym", "gym_spaces"}
OWN_FILES |= {"gym_suite", "keydoor", "minatar", "minatar_suite", "small_suites"}
LEVELS = {"plains": Reference(2.0, 12.0), "cave": Reference(0.0, 8.0)}
OWN_FILES |= {"procgen", "procgen_suite"}


class LevelSettings(EnvSettings):
    name: Literal["levels"]
    level: int = 7
    game: str = "plains"
    frame_stack: int = 1
    clip_rewards: bool = False
    max_episode_steps: int = 6
    evaluation_max_episode_steps: int = 6


class Levels:
    """Pays the level after three steps, and ends."""

    def __init__(self, settings, evaluation):
        self.settings = settings
        self.spec = EnvSpec((1, 4, 3), ("a", "b", "c"), {"name": "levels", "engine": "1.0"})

    def reset(self, seed):
        self.steps = 0
        return np.zeros((1, 4, 3), np.uint8)

    def step(self, action):
        self.steps += 1
        over = self.steps == 3
        frame = np.full((1, 4, 3), self.steps, np.uint8)
        return Step(frame, float(self.settings.level if over else 0), over, over)


SUITE = Suite(
    name="levels",
    settings=LevelSettings,
    builder=lambda settings: Levels,
    title="Levels",
    preset=DefaultPreset("catch", "catch", "its frames are as small"),
    label=lambda env: env.game,
    played=("game",),
    games=Games(lambda: tuple(LEVELS), {"levels2": tuple(LEVELS)}, lambda name, games: name),
    benchmark=Benchmark(
        "Levels",
        tuple(LEVELS),
        Normalisation("level-normalised", zero="lowest", one="highest"),
        lambda: LEVELS,
        "",
        lambda env, lengths, cap: True,
    ),
    installed=("engine",),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(SUITES, SUITE.name, SUITE)


def config_of(game, *overrides):
    tables = use_env(read_toml(preset_path("smoke")), "levels", game)
    return resolve(tables, [*TINY, *overrides])


def test_a_new_suite_trains_is_evaluated_and_is_reported_on_its_own_scale(tmp_path):
    for game in LEVELS:
        folder = run(tmp_path / f"{game}-seed0", config_of(game))
    line = evaluate_run(folder, folder.config())
    assert (folder.config(), line["mean"]) == (config_of("cave"), 7.0)
    assert line["level_normalised"] == 7 / 8

    groups, said = collect([], tmp_path)
    report = build(groups, said, agents_named(DEFAULT_AGAINST), Choice((), (), 100))
    (section,) = report.sections
    assert (said, section.scale.kind, section.scale.games) == ([], "normalised", ("cave", "plains"))
    scores = [run.normalised(run.score) for run in section.group.runs]
    assert sorted(scores) == [(7 - 2) / (12 - 2), 7 / 8]
    assert "2 of 2 games" in section.table("scores").title
    assert section.table("beside") is None  # nobody has published scores of it


def test_the_names_of_a_new_suite_and_of_its_games_are_known_to_options():
    check_env("levels")
    with fails("EZ-UNKNOWN-ENVIRONMENT", "'levles'", "levels"):
        check_env("levles")
    with fails("EZ-UNKNOWN-GAME", "'caves'", "cave"):
        check_game(config_of("caves").env)
    with fails("EZ-CONFIG-VALUE", "env.level"):
        config_of("cave", "env.level=deep")


def constants(node):
    """The strings within a part of a program."""
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_outside_a_suites_own_files_asks_for_its_name(path):
    if path.parent.name == "envs" and path.stem in OWN_FILES:
        return
    names = {name for name in SUITES if name != SUITE.name}
    models = {suite.settings.__name__ for suite in SUITES.values()}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare | ast.MatchValue | ast.MatchClass):
            asked = constants(node) & names
            assert not asked, f"line {node.lineno} asks for {asked}"
        if isinstance(node, ast.Name | ast.Attribute):
            used = node.id if isinstance(node, ast.Name) else node.attr
            assert used not in models, f"line {node.lineno} uses {used}"
        if isinstance(node, ast.ImportFrom) and path.stem != "suites":
            own = {f"ezcli.envs.{file}" for file in OWN_FILES}
            assert node.module not in own, f"line {node.lineno} imports {node.module}"
