"""A config identifies a run: equal runs are found by any name, contradictions are refused."""

from pathlib import Path

import pytest

from ezcli.commands.config_options import ConfigOptions, build_config
from ezcli.commands.find import default_name
from ezcli.experiments import estimate
from ezcli.experiments.schedule import Outcome, Scheduler
from ezcli.runs.cost import Cost, Finished
from ezcli.runs.folder import RunFolder
from tests.failing import check
from tests.runs.helpers import ROOM, TINY, run, sets, tiny

SMALL = ["--preset", "smoke", "--env", "catch", *sets(*TINY, *ROOM["catch"])]


def contradictions():
    """Commands that give two values of one setting, and what they must name."""
    smoke = ["--preset", "smoke"]
    pairs = [
        (["--set", "value.td_steps=3", "--set", "value.td_steps=4"], "value.td_steps=3"),
        (["--set", "compute.threads=1", "--set", "compute.threads=2"], "compute.threads=1"),
        (["--set", "env.grayscale=true", "--set", "env.grayscale=false"], "env.grayscale=true"),
        (["--set", "acting.num_envs=1", "--set", "acting.num_envs=true"], "acting.num_envs=1"),
        (["--game", "pong", "--set", "env.game=breakout"], "--game pong"),
        (["--env", "one.py:C", "--set", "env.target=two.py:C"], "--env one.py:C"),
    ]
    device = (["--device", "cpu", "--set", "compute.device=cuda"], "--device cpu")
    seed = (["--seed", "7", "--set", "seed=3"], "--seed 7")
    exact = (["--deterministic", "--set", "compute.deterministic=false"], "--deterministic")
    for command, more in (
        ("train", [device, seed, exact]),
        ("config show", [seed]),
        ("cost", [device]),
        ("bench", [device]),
        ("ablate", []),
    ):
        for options, names in [*pairs, *more]:
            yield pytest.param([*command.split(), *smoke, *options], names, id=f"{command} {names}")
    others = [
        (["--seeds", "2", "--set", "seed=1"], "--seeds"),
        (["--games", "atari26", "--set", "env.game=pong"], "env.game=pong"),
        (["--game", "pong", "--game", "krull", "--set", "env.game=pong"], "--game krull"),
        (["--vary", "value.td_steps=3,4", "--set", "value.td_steps=5"], "--vary value.td_steps"),
        (["--devices", "cuda:0", "--set", "compute.device=cpu"], "--devices cuda:0"),
        (["--vary", "value.td_steps=3", "--vary", "value.td_steps=4"], "value.td_steps"),
    ]
    for options, names in others:
        yield pytest.param(["ablate", *smoke, *options], names, id=f"ablate {names}")


@pytest.mark.parametrize(("command", "names"), [*contradictions()])
def test_contradictions_are_refused(command, names, ez):
    code, out, err = ez(*command)
    assert (code, out) == (2, "")
    assert names in err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--seed", "3", "--set", "seed=3"],
        ["--set", "value.td_steps=3", "--set", "value.td_steps=3"],
        ["--game", "pong", "--set", "env.game=pong"],
    ],
    ids=" ".join,
)
def test_the_same_value_twice_is_no_contradiction(options, ez):
    assert ez("config", "show", "--preset", "smoke", *options)[0] == 0


def named(preset, *overrides, env=None, game=None, seed=None):
    """The name of the run of a command."""
    config = build_config(ConfigOptions(preset, env, game, seed, None, overrides))
    return default_name(config, preset)


@pytest.mark.parametrize(
    "overrides",
    [
        ["compute.threads=1"],
        ["compute.device=cpu"],
        ["record.metrics_interval=7", "record.checkpoint_minutes=1"],
        ["seed=0"],
        ["value.td_steps=5"],
        ["env.game=pong"],
        ["env.frame_skip=4"],
    ],
    ids=" ".join,
)
def test_what_changes_no_identity_changes_no_name(overrides):
    assert named("smoke", *overrides) == named("smoke") == "pong-smoke-seed0"


def test_names_of_equal_configs_are_equal():
    assert named("smoke", "seed=3") == named("smoke", seed=3) == "pong-smoke-seed3"
    assert named("smoke", "env.game=krull") == named("smoke", game="krull") == "krull-smoke-seed0"
    assert named("smoke", "value.td_steps=4").startswith("pong-smoke-seed0-")
    assert named("catch", env="catch") == "catch-seed0"


def test_names_of_own_environments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("game.py").touch()
    assert named("catch", env="game.py:Corridor") == "corridor-catch-seed0"
    assert named("catch", env=f"{tmp_path}/game.py:Corridor") == "corridor-catch-seed0"
    preset = Path("mine.toml")
    text = Path(__file__).parents[1].joinpath("presets/catch.toml").read_text()
    own = 'name = "custom"\ntarget = "game.py:Corridor"\nframe_stack = 2'
    start, end = text.index("[env]"), text.index("[", text.index("[env]") + 1)
    preset.write_text(f"{text[:start]}[env]\n{own}\n{text[end:]}")
    assert named("mine.toml") == "corridor-mine-seed0"
    assert named("mine.toml", "env.clip_rewards=true").startswith("corridor-mine-seed0-")


@pytest.fixture
def elsewhere(tmp_path):
    """A finished run under a name of its own, and its bytes."""
    return run(tmp_path / "runs" / "other", tiny())


@pytest.mark.parametrize("more", [[], ["--set", "seed=0"], ["--seed", "0"]], ids=" ".join)
def test_an_equal_run_is_found_under_another_name(more, elsewhere, ez):
    code, out, err = ez("train", *SMALL, *more)
    assert (code, err) == (0, "")
    assert "The run 'other' already has this config." in out
    assert "other is already finished." in out
    assert [path.name for path in Path("runs").iterdir()] == ["other"]


def test_an_interrupted_equal_run_goes_on(ez, monkeypatch, tmp_path):
    from tests.runs.helpers import Watcher

    run(tmp_path / "runs" / "other", tiny(), Watcher(stop_after=6))
    assert ez("train", *SMALL, "--name", "mine")[:2] == (2, "")
    check(ez.error, "EZ-RUN-EQUAL", "'other'", "interrupted", "ez resume runs/other")
    code, out, _ = ez("train", *SMALL)
    assert (code, "Continuing from env_step" in out) == (0, True)
    assert RunFolder(Path("runs/other")).read_info()["status"] == "finished"


def test_a_new_name_for_an_equal_run_is_refused(elsewhere, ez):
    assert ez("train", *SMALL, "--name", "mine")[:2] == (2, "")
    check(ez.error, "EZ-RUN-EQUAL", "'other'", "finished", "ez runs show runs/other")
    assert [path.name for path in Path("runs").iterdir()] == ["other"]
    assert ez("train", *SMALL, "--name", "mine", "--seed", "1")[0] == 0


def test_a_damaged_equal_run_does_not_count(elsewhere, ez):
    (elsewhere.path / "run.json").write_text("{")
    assert ez("train", *SMALL, "--name", "mine")[0] == 0


def test_a_study_has_one_name_whatever_changes_no_result(ez, monkeypatch):
    monkeypatch.setattr(estimate, "measure", lambda config: Finished(config, Cost(1.0, 1, 1)))
    monkeypatch.setattr(Scheduler, "run", lambda self: Outcome([], [], self.runs, [], None))
    study = ["ablate", "--drop", "value-prefix", "--preset", "catch", "--seeds", "1"]
    assert ez(*study, "--quiet")[0] == 0
    assert [path.name for path in Path("runs/studies").iterdir()] == ["catch-value-prefix"]
    code, out, _ = ez(*study, "--set", "compute.threads=3", "--set", "seed=0", "--dry-run")
    assert code == 2  # the seed
    code, out, _ = ez(*study, "--set", "compute.threads=3", "--dry-run")
    assert (code, "Study catch-value-prefix: " in out) == (0, True)
    assert "The study keeps its first settings: compute.threads = 0." in out
    assert "Study catch-value-prefix-" in ez(*study, "--set", "value.td_steps=4", "--dry-run")[1]
