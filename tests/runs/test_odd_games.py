"""Games at the edges of the contract train to their end; violations beyond it are named."""

import json
import re

import pytest

from ezcli.config.run import RunConfig
from ezcli.runs.folder import RunFolder
from ezcli.runs.train import train
from tests.failing import fails
from tests.runs.helpers import Watcher, interrupted, outcome, run, tiny

GAMES = '''
import numpy as np

from ezcli.envs.protocol import EnvSpec, Step


class Game:
    """Five cells in a row; the last one ends the game."""

    actions, reward, length = ("left", "right"), 1.0, 5

    def __init__(self, settings, evaluation):
        self.evaluation = evaluation
        self.spec = EnvSpec((1, 3, 5), self.actions, {"name": "odd"})

    def reset(self, seed):
        self.at = self.steps = 0
        return self.frame()

    def step(self, action):
        self.steps += 1
        self.at = (self.at + action) % 5
        over = self.steps >= self.length
        return Step(self.frame(), self.reward, over, over)

    def frame(self):
        frame = np.zeros((1, 3, 5), np.uint8)
        frame[0, :, self.at] = 255
        return frame


class OneAction(Game):
    actions = ("wait",)

class EighteenActions(Game):
    actions = tuple(f"a{i}" for i in range(18))

class OneStep(Game):
    length = 1

class Endless(Game):
    length = 10**9

class Huge(Game):
    reward = 1e13

class Dear(Game):
    reward = -2000.0

class Tiny(Game):
    reward = -1e-300

class NoReward(Game):
    reward = 0

class Late(Game):
    """Breaks only after a while."""

    def step(self, action):
        if self.steps == 3:
            raise IndexError("no such cell")
        return super().step(action)

class NaN(Game):
    reward = float("nan")

class Unlike(Game):
    """Another game in evaluation than in training."""

    def __init__(self, settings, evaluation):
        self.actions = ("left", "right", "jump") if evaluation else ("left", "right")
        super().__init__(settings, evaluation)

class OnlyThen(Game):
    """Breaks in evaluation alone."""

    def step(self, action):
        return super().step(action) if not self.evaluation else None

class Moody(Game):
    """The same seed and actions give another game each time."""

    moods = 0

    def reset(self, seed):
        Moody.moods += 1
        super().reset(seed)
        self.at = Moody.moods % 5
        return self.frame()
'''


@pytest.fixture
def game(tmp_path, monkeypatch):
    """A tiny run's config on one of the games."""
    (tmp_path / "games.py").write_text(GAMES)
    monkeypatch.chdir(tmp_path)

    def config(name, *overrides):
        base = tiny("catch", *overrides).model_dump()
        kept = {key: base["env"][key] for key in ("frame_stack", "clip_rewards")}
        caps = {"max_episode_steps": 20, "evaluation_max_episode_steps": 20}
        env = {"name": "custom", "target": f"games.py:{name}", **kept, **caps}
        return RunConfig.model_validate(base | {"env": env})

    return config


ODD = ["OneAction", "EighteenActions", "OneStep", "Endless", "Huge", "Tiny", "NoReward"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_it_trains_to_its_end(name, game, tmp_path):
    folder = run(tmp_path / "run", game(name))
    assert folder.read_info()["status"] == "finished"
    assert all(
        value is None or abs(value) < float("inf")
        for line in folder.read("metrics.jsonl")
        for value in line.values()
    )


def beyond(watcher):
    return [text for text in watcher.said if "value.support" in text]


def test_values_beyond_the_support_are_said_once_by_each_session(game, tmp_path):
    first, second = Watcher(stop_after=5), Watcher()
    run(tmp_path / "run", game("Dear"), first)
    assert len(first.events) == 5  # of which three have targets
    run(tmp_path / "run", game("Dear"), second)
    for (said,) in (beyond(first), beyond(second)):
        found = re.fullmatch(
            r"A value target of ([\d,]+) is larger than value.support = 10 can represent: "
            r"all targets are clipped to ±117\.43. Train under another --name with a larger "
            r"value.support, or with env.clip_rewards = true.",
            said,
        )
        assert found, said
        assert int(found[1].replace(",", "")) >= 2000


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("Dear", ["env.clip_rewards=true"]),
        ("Dear", ["value.support=300"]),
        ("NoReward", []),
    ],
)
def test_values_within_the_support_are_not_mentioned(name, overrides, game, tmp_path):
    watcher = Watcher(stop_after=5)
    run(tmp_path / "run", game(name, *overrides), watcher)
    assert len(watcher.events) == 5
    assert not beyond(watcher)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["OneAction", "OneStep", "Endless"])
def test_it_is_stopped_and_goes_on_exactly(name, game, tmp_path):
    whole = outcome(run(tmp_path / "whole", game(name)))
    assert interrupted(tmp_path / "parts", game(name), 3, 4) == whole


@pytest.mark.slow
def test_a_game_that_never_ends_is_ended_by_its_cap(game, tmp_path):
    folder = run(tmp_path / "run", game("Endless"))
    played = folder.read("evaluations.jsonl")[-1]
    assert played["game_env_steps"] == [20, 20]


@pytest.mark.parametrize(
    ("name", "code", "named"),
    [
        ("Late", "EZ-ENV-FAILED", ["`step`", "IndexError: no such cell"]),
        ("NaN", "EZ-ENV-CONTRACT", ["reward nan"]),
        pytest.param("OnlyThen", "EZ-ENV-CONTRACT", ["NoneType", "`step`"], marks=pytest.mark.slow),
    ],
)
def test_a_broken_game_ends_the_run_with_its_sentence(name, code, named, game, tmp_path):
    folder = RunFolder(tmp_path / "run")
    with fails(code, repr(name), "seed ", *named) as caught:
        train(game(name), folder, Watcher())
    info = json.loads((folder.path / "run.json").read_text())
    assert (info["status"], info["error"]) == ("failed", caught.value.message)


def test_a_game_that_is_another_in_evaluation_leaves_no_run_behind(game, tmp_path):
    with fails("EZ-ENV-CONTRACT", "'Unlike'", "action_names"):
        train(game("Unlike"), RunFolder(tmp_path / "run"), Watcher())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_game_that_is_no_function_of_seed_and_actions_cannot_go_on(game, tmp_path):
    folder = run(tmp_path / "run", game("Moody"), Watcher(stop_after=3))
    with fails("EZ-ENV-NOT-REPEATABLE", "'Moody'"):
        train(game("Moody"), folder, Watcher())
