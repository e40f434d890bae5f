"""`ez tune`: trials are runs, it continues after interruptions, and its result is a preset."""

from types import SimpleNamespace

import pytest

from ezcli.commands import tune as command
from ezcli.commands.config_options import ConfigOptions, build_config
from ezcli.config.files import read_toml
from ezcli.config.resolve import resolve
from ezcli.errors import NotFinite
from ezcli.experiments.study import StudyFolder
from ezcli.experiments.tuning import FIRST_SEED, Range, open_study, read_space
from ezcli.runs.folder import RunFolder
from ezcli.runs.session import StopRequest
from tests.failing import check, fails
from tests.runs.helpers import ROOM, TINY, Watcher, sets, tiny

SPACE = """
"search.num_simulations" = {low = 2, high = 3}
"network.norm" = {choices = ["batch", "group"]}
"""
TUNE = ("tune", "--env", "catch", "--preset", "smoke", "--space", "space.toml", "--quiet")
SETS = sets(*TINY, *ROOM["catch"])


@pytest.fixture
def space(tmp_path):
    def write(text=SPACE):
        (tmp_path / "space.toml").write_text(text)
        return tmp_path / "space.toml"

    return write


class FakeTrial:
    """Notes what is asked of it, and gives the lowest or first value."""

    def __init__(self):
        self.asked = []

    def suggest_int(self, key, low, high, **more):
        self.asked.append(("int", key, low, high, more))
        return low

    def suggest_float(self, key, low, high, **more):
        self.asked.append(("float", key, low, high, more))
        return low

    def suggest_categorical(self, key, choices):
        self.asked.append(("choices", key, choices))
        return choices[0]


def test_a_space_is_read_and_asked_for(space):
    text = SPACE + '"optimiser.learning_rate" = {low = 0.001, high = 0.1, log = true}\n'
    found, trial = (
        read_space(space('"loss.batch_size" = {low=4, high=8, step=2}\n' + text), tiny()),
        FakeTrial(),
    )
    for key, values in found.items():
        values.suggest(trial, key)
    assert trial.asked == [
        ("int", "loss.batch_size", 4, 8, {"step": 2, "log": False}),
        ("int", "search.num_simulations", 2, 3, {"step": 1, "log": False}),
        ("choices", "network.norm", ["batch", "group"]),
        ("float", "optimiser.learning_rate", 0.001, 0.1, {"step": None, "log": True}),
    ]


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "EZ-TUNE-SPACE", "contains no setting"),
        ('"search.simulations" = {low = 1, high = 2}', "EZ-CONFIG-UNKNOWN-KEY", "num_simulations"),
        ('"search.num_simulations" = {low = 0, high = 2}', "EZ-CONFIG-VALUE", "num_simulations"),
        ('"search.num_simulations" = {low = 3, high = 2}', "EZ-TUNE-SPACE", "num_simulations"),
        ('"search.num_simulations" = {low = 3}', "EZ-TUNE-SPACE", "low and high"),
        ('"search.num_simulations" = {choices = [1]}', "EZ-TUNE-SPACE", "two choices"),
        ('"search.num_simulations" = {low = 1, high = 2, most = 3}', "EZ-TUNE-SPACE", "num_sim"),
        ('"search.num_simulations" = 5', "EZ-TUNE-SPACE", "it must be a table"),
        ('"search.num_simulations" = [2, 4]', "EZ-TUNE-SPACE", "it must be a table"),
        ('"optimiser.learning_rate" = {low = 0.0, high = 1.0, log = true}', "EZ-TUNE-SPACE", "log"),
        ("seed = {low = 1, high = 2}", "EZ-TUNE-SPACE", "seed"),
    ],
)
def test_a_space_that_cannot_be(text, code, named, space):
    with fails(code, named):
        read_space(space(text), tiny())


def test_what_was_begun_otherwise_is_refused(space, tmp_path):
    found = read_space(space(), tiny())
    open_study(tmp_path / "one", tiny(), found)
    open_study(tmp_path / "one", tiny(), found)
    with fails("EZ-TUNE-OTHER-STUDY", "'one'", "base"):
        open_study(tmp_path / "one", tiny("catch", "value.discount=0.5"), found)
    with fails("EZ-TUNE-OTHER-STUDY", "'one'", "space"):
        open_study(tmp_path / "one", tiny(), {"loss.batch_size": Range(low=1, high=2)})


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--seed", "3"], "EZ-TUNE-SEED", str(FIRST_SEED)),
        (["--space", "none.toml"], "EZ-CONFIG-UNREADABLE", "none.toml"),
    ],
)
def test_what_cannot_be_tuned(options, code, named, ez, space):
    space()
    assert ez(*TUNE, *options)[0] == 2
    check(ez.error, code, named)


def test_without_its_package(ez, space, monkeypatch):
    space()
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert ez(*TUNE)[0] == 2
    check(ez.error, "EZ-OPTION-NO-PACKAGE", "optuna", "ezcli[tune]")


@pytest.mark.slow
def test_trials_are_runs_and_the_best_becomes_a_preset(ez, space, tmp_path):
    space()
    code, out, err = ez(*TUNE, *SETS, "--trials", "2")
    assert (code, err) == (0, "")
    code, out, _ = ez(*TUNE, *SETS, "--trials", "3")  # goes on with the two there are
    assert code == 0
    folder = tmp_path / "runs" / "studies" / "tune-catch"
    study = open_study(folder, *base_and_space(space()))
    assert len(study.trials) == 3
    for trial in study.trials:
        found = RunFolder(tmp_path / "runs" / trial.user_attrs["run"])
        assert found.config().seed == FIRST_SEED
        assert found.config().search.num_simulations == trial.params["search.num_simulations"]
        assert found.config().network.norm == trial.params["network.norm"]
        scores = found.read("evaluations.jsonl")
        assert trial.value == scores[-1]["mean"]
        assert trial.intermediate_values == {
            line["train_steps"]: line["mean"] for line in scores if line["kind"] == "interim"
        }
    preset = resolve(read_toml(folder / "best.toml"))
    assert preset.seed == 0
    assert preset.network.norm == study.best_params["network.norm"]
    assert preset.search.num_simulations == study.best_params["search.num_simulations"]
    assert "therefore biased" in out
    assert f"seed {FIRST_SEED}" in out


def base_and_space(path):
    overrides = [*TINY, *ROOM["catch"]]
    base = build_config(ConfigOptions("smoke", "catch", None, FIRST_SEED, None, overrides))
    return base, read_space(path, base)


@pytest.mark.slow
def test_a_trial_that_was_stopped_goes_on(ez, space, tmp_path, monkeypatch):
    space()
    monkeypatch.setattr("ezcli.console.QuietReporter", lambda: Listening(stop_after=6))
    code, out, _ = ez(*TUNE, *SETS, "--trials", "1")
    assert code == 130
    assert "Repeat the command to continue." in out
    (path,) = (tmp_path / "runs").glob("tune-catch-*")
    assert RunFolder(path).status() == "interrupted"
    monkeypatch.setattr("ezcli.console.QuietReporter", Listening)
    assert ez(*TUNE, *SETS, "--trials", "1")[0] == 0
    assert list((tmp_path / "runs").glob("tune-catch-*")) == [path]
    assert RunFolder(path).status() == "finished"
    assert len(RunFolder(path).sessions()) == 2


class Listening(Watcher):
    def running(self):
        return self.quiet_while("")


@pytest.mark.slow
def test_a_poor_trial_is_given_up_and_saved(tmp_path):
    trial = SimpleNamespace(reported=[])
    trial.report = lambda value, step: trial.reported.append((value, step))
    trial.should_prune = lambda: len(trial.reported) == 1
    folder = RunFolder(tmp_path / "run")
    assert command.train(trial, tiny(), folder, Watcher(), StopRequest())
    (line,) = folder.read("evaluations.jsonl")
    assert trial.reported == [(line["mean"], line["train_steps"])]
    assert folder.status() == "interrupted"
    trial.should_prune = lambda: False
    assert not command.train(trial, tiny(), folder, Watcher(), StopRequest())
    assert len({step for _, step in trial.reported}) == len(trial.reported) - 1  # again, for us


def test_a_trial_that_fails_is_noted_and_counts(tmp_path, monkeypatch, space):
    base, found = base_and_space(space())
    study = open_study(tmp_path / "one", base, found)
    tuning = command.Tuning(base, found, study, StudyFolder(tmp_path, "one"), quiet=True)

    def diverge(*_):
        raise NotFinite("EZ-RUN-NOT-FINITE", "Not finite: loss.")

    monkeypatch.setattr(command, "train", diverge)
    assert command.try_one(tuning) is None
    assert command.num_done(study) == 1
    assert study.trials[0].user_attrs["error"] == "Not finite: loss."
    assert command.conclude(tuning) == 1
