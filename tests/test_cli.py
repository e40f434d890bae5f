"""The commands, from their arguments to their exit codes."""

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch
import typer

import ezcli
from ezcli import cli, console
from ezcli.commands import (
    ablate,
    ablations,
    archives,
    bench,
    configs,
    cost,
    examination,
    export,
    report,
    runs,
    studies,
    training,
    tune,
    watch,
)
from ezcli.config.files import preset_names
from ezcli.errors import ConfigError, EnvError
from ezcli.runs.cost import Cost
from ezcli.runs.folder import RunFolder
from ezcli.runs.names import run_path
from tests.failing import check
from tests.runs.helpers import ROOM, TINY, replaced, tiny

ROOT = Path(__file__).parents[1]
# command -> the function that does it
COMMANDS = {
    "train": training.train,
    "resume": training.resume,
    "evaluate": training.evaluate,
    "watch": watch.watch,
    "ablate": ablate.ablate,
    "ablations": ablations.list_ablations,
    "ablations show": ablations.show,
    "study cancel": studies.study_cancel,
    "study status": studies.study_status,
    "report": report.report,
    "runs": runs.list_runs,
    "runs show": runs.show,
    "runs diff": runs.diff,
    "runs rm": runs.remove,
    "runs export": export.export,
    "plot": export.plot,
    "export": archives.export,
    "tune": tune.tune,
    "presets": configs.presets,
    "config show": configs.config_show,
    "config save": configs.config_save,
    "doctor": examination.doctor,
    "bench": bench.bench,
    "cost": cost.cost,
}
SETS = [part for setting in (*TINY, *ROOM["catch"]) for part in ("--set", setting)]
TRAIN = ["train", "--preset", "smoke", "--env", "catch", "--name", "mine", *SETS]

MY_ENV = '''
import numpy as np
from ezcli.envs.protocol import EnvSpec, Step

class Corridor:
    """Three cells; the door at the right end pays 1."""

    def __init__(self, settings, evaluation):
        self.spec = EnvSpec((1, 3, 3), ("left", "right"), {"name": "corridor"})

    def reset(self, seed):
        self.at, self.steps = seed % 2, 0
        return self.frame()

    def step(self, action):
        self.at, self.steps = max(0, self.at + 2 * action - 1), self.steps + 1
        is_there = self.at == 2
        is_over = is_there or self.steps == 5
        return Step(self.frame(), float(is_there), is_over, is_over)

    def frame(self):
        frame = np.zeros((1, 3, 3), np.uint8)
        frame[0, :, self.at] = 255
        return frame
'''


@pytest.fixture
def untrained(monkeypatch):
    """Notes what would be trained instead of training it."""
    noted = []
    monkeypatch.setattr(
        "ezcli.runs.train.train", lambda config, folder, *rest: noted.append((config, folder))
    )
    return noted


def group(*path):
    """The click command at a path of names."""
    command = typer.main.get_command(cli.app)
    for name in path:
        command = command.commands[name]
    return command


# ------------------------------------------------------------------ help


def test_ctrl_c_before_a_command_has_begun(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130


def test_these_are_all_commands():
    def callable_ones(command, path=()):
        inner = getattr(command, "commands", {})
        own = [" ".join(path)] if path and (not inner or command.invoke_without_command) else []
        return own + [x for name, sub in inner.items() for x in callable_ones(sub, (*path, name))]

    assert sorted(callable_ones(group())) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_that_works(command, ez, monkeypatch):
    code, out, _ = ez(*command.split(), "--help")
    assert code == 0
    examples = re.findall(rf"Example: ez ({command}\b.*(?:\n +.*)?)", out)
    assert examples
    called = []
    done_by = COMMANDS[command]
    module = sys.modules[done_by.__module__]
    monkeypatch.setattr(module, done_by.__name__, lambda *given: called.append(given) or 0)
    for example in examples:
        code, _, err = ez(*shlex.split(example))
        assert (code, err) == (0, "")
    assert len(called) == len(examples)


def test_train_has_few_options():
    options = {option for param in group("train").params for option in param.opts}
    assert options == {
        "--from",
        "--at",
        "--game",
        "--env",
        "--preset",
        "--seed",
        "--device",
        "--launcher",
        "--cluster",
        "--deterministic",
        "--name",
        "--runs-dir",
        "--set",
        "--wandb",
        "--wandb-project",
        "--tensorboard",
        "--mlflow",
        "--quiet",
    }


@pytest.mark.parametrize("command", ["", "ablations", "config", "runs", "study"])
def test_lists_of_commands_fit_the_width_of_a_terminal(command, ez, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, _, commands = ez(*command.split(), "--help")[1].partition("Commands:")
    assert commands
    assert "..." not in commands


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    for param in group(*command.split()).params:
        assert param.help, param.name


def test_help_loads_nothing_heavy():
    program = (
        "import sys; sys.argv = ['ez', '--help']\n"
        "from ezcli.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Train EfficientZero on Atari 100k" in done.stdout
    loaded = set(done.stdout.split())
    assert "ezcli.cli" in loaded
    assert not loaded & {
        "torch",
        "numba",
        "numpy",
        "pydantic",
        "ale_py",
        "wandb",
        "av",
        "PIL",
        "ezcli.runs",
    }


@pytest.mark.slow
def test_help_answers_at_once():
    """In processor time, beside what no command can do without."""
    programs = (["-m", "ezcli", "--help"], ["-c", "import typer, rich.console"])
    times = [[seconds_of(program) for program in programs] for _ in range(5)]
    ours, least = (min(column) for column in zip(*times, strict=True))
    assert ours < 3 * least


def seconds_of(program):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *program], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_version(ez):
    assert ez("--version") == (0, f"{ezcli.__version__}\n", "")


def test_no_command_shows_the_help(ez):
    code, out, err = ez()
    assert "Usage" in out + err
    assert code in (0, 2)


# ------------------------------------------------------------------ mistakes


def label(value):
    return " ".join(value) if isinstance(value, list) else "-"


MISTAKES = [  # what is asked, the code if the error is ours, and what is named
    (["train", "--game", "nosuch"], "EZ-UNKNOWN-GAME", "'nosuch'"),
    (["train", "--game", "pongg"], "EZ-UNKNOWN-GAME", "'pong'"),
    (["train", "--game", "pong", "--env", "catch"], "EZ-OPTION-CONFLICT", "'catch'"),
    (["train", "--env", "keydor"], "EZ-UNKNOWN-ENVIRONMENT", "'keydoor'"),
    (["train", "--env", "nofile.py:Room"], "EZ-ENV-NO-FILE", "'nofile.py'"),
    (["train", "--preset", "smoek"], "EZ-UNKNOWN-PRESET", "'smoke'"),
    (["train", "--preset", "mine.toml"], "EZ-CONFIG-NO-FILE", "'mine.toml'"),
    (["train", "--preset", "smoke", "--set", "seed"], "EZ-CONFIG-SET-FORM", "--set 'seed'"),
    (
        ["train", "--preset", "smoke", "--set", "serch.num_simulations=3"],
        "EZ-CONFIG-UNKNOWN-KEY",
        "'search.num_simulations'",
    ),
    (
        ["train", "--preset", "smoke", "--set", "search.num_simulations=x"],
        "EZ-CONFIG-VALUE",
        "search.num_simulations = 'x'",
    ),
    (["train", "--preset", "smoke", "--seed", "-1"], "EZ-CONFIG-VALUE", "seed = -1"),
    (
        ["train", "--preset", "smoke", "--device", "gpu"],
        "EZ-CONFIG-VALUE",
        "compute.device = 'gpu'",
    ),
    (["train", "--preset", "smoke", "--device", "cuda:0"], "EZ-COMPUTE-NO-GPU", "'cuda:0'"),
    (["train", "--preset", "smoke", "--name", "../x"], "EZ-RUN-NAME", "'../x'"),
    (["train", "--preset", "smoke", "--wandb", "maybe"], "EZ-OPTION-WANDB", "'maybe'"),
    (["ablate", "--env", "catch", "--wandb", "maybe"], "EZ-OPTION-WANDB", "'maybe'"),
    (["train", "--env", "catch", "--wandb-project", "p"], "EZ-OPTION-WANDB", "--wandb-project"),
    (
        ["train", "--env", "catch", "--wandb", "offline", "--wandb-project", "a/b/c"],
        "EZ-OPTION-WANDB",
        "'a/b/c'",
    ),
    (["train", "--preset", "catch", "--game", "pong"], "EZ-CONFIG-PRESET-ENV", "'catch'"),
    (["config", "show", "--preset", "smoke", "--game", "nosuch"], "EZ-UNKNOWN-GAME", "'nosuch'"),
    (["config", "show", "--preset", "smoke", "--set", "a=1"], "EZ-CONFIG-UNKNOWN-KEY", "'a'"),
    (
        ["config", "show", "--preset", "smoke", "--explain", "--json"],
        "EZ-OPTION-CONFLICT",
        "--explain",
    ),
    (["resume", "nothing"], "EZ-RUN-MISSING", "'nothing'"),
    (["evaluate", "nothing"], "EZ-RUN-MISSING", "'nothing'"),
    (["doctor", "--preset", "nothing"], "EZ-UNKNOWN-PRESET", "'nothing'"),
    (["train", "--nonsense"], None, "--nonsense"),
    (["train", "--seed", "x"], None, "'--seed'"),
    (["ablate"], "EZ-STUDY-NO-ARMS", "--drop value-prefix"),
    (["ablate", "--drop", "consistancy"], "EZ-UNKNOWN-ABLATION", "'consistency'"),
    (["ablate", "--drop", "consistency+valueprefix"], "EZ-UNKNOWN-ABLATION", "'value-prefix'"),
    (["ablate", "--drop", "mine.toml"], "EZ-CONFIG-NO-FILE", "'mine.toml'"),
    (
        ["ablate", "--drop", "augmentation", "--env", "catch"],
        "EZ-ABLATION-CHANGES-NOTHING",
        "loss.augmentation is False",
    ),
    (
        ["ablate", "--drop", "consistency", "--games", "atari266"],
        "EZ-UNKNOWN-SET-OF-GAMES",
        "'atari26'",
    ),
    (["ablate", "--drop", "consistency", "--game", "pongg"], "EZ-UNKNOWN-GAME", "'pong'"),
    (["ablate", "--drop", "consistency", "--seeds", "0"], "EZ-STUDY-SEEDS", "'0'"),
    (["ablate", "--drop", "consistency", "--seeds", "1,x"], "EZ-STUDY-SEEDS", "'1,x'"),
    (["ablate", "--drop", "consistency", "--set", "seed=3"], "EZ-STUDY-SET-SEED", "--seeds"),
    (["ablate", "--drop", "consistency", "--study", "../x"], "EZ-STUDY-NAME", "'../x'"),
    (["ablate", "--drop", "consistency", "--jobs", "0"], None, "'--jobs'"),
    (
        ["ablate", "--drop", "consistency", "--devices", "gpu"],
        "EZ-CONFIG-VALUE",
        "compute.device = 'gpu'",
    ),
    (["ablate", "--drop", "consistency", "--devices", "cpu,"], "EZ-STUDY-DEVICES", "'cpu,'"),
    (["ablate", "--drop", "consistency", "--devices", "cuda:0"], "EZ-COMPUTE-NO-GPU", "'cuda:0'"),
    (["ablate", "--study", "nothing"], "EZ-UNKNOWN-STUDY", "'nothing'"),
    (["ablate", "--factorial", "--env", "catch"], "EZ-STUDY-FACTORIAL", "--drop"),
    (
        ["ablate", "--vary", "search.simulations=3"],
        "EZ-CONFIG-UNKNOWN-KEY",
        "'search.num_simulations'",
    ),
    (
        ["ablate", "--vary", "search.num_simulations"],
        "EZ-STUDY-VARY-FORM",
        "'search.num_simulations'",
    ),
    (
        ["ablate", "--vary", "search.num_simulations=0"],
        "EZ-CONFIG-VALUE",
        "search.num_simulations = 0",
    ),
    (["ablate", "--vary", "compute.threads=1,2"], "EZ-ABLATION-NO-RESULT", "compute.threads"),
    (["ablations", "show", "consistancy"], "EZ-UNKNOWN-ABLATION", "'consistency'"),
    (["study", "status", "nothing"], "EZ-UNKNOWN-STUDY", "'nothing'"),
    (["runs", "show", "nothing"], "EZ-RUN-MISSING", "'nothing'"),
    (["runs", "diff", "nothing", "more"], "EZ-RUN-MISSING", "'nothing'"),
    (["nonsense"], None, "'nonsense'"),
    (["evaluate"], None, "argument"),
    (["evaluate", "x", "--episodes", "0"], None, "'--episodes'"),
    (["watch", "nothing"], "EZ-RUN-MISSING", "'nothing'"),
    (["watch", "x", "--max-steps", "0"], None, "'--max-steps'"),
    (["watch", "x", "--seed", "-1"], None, "'--seed'"),
    (["watch", "x", "--fps", "51"], None, "'--fps'"),
]


@pytest.mark.parametrize(("arguments", "error", "named"), MISTAKES, ids=label)
def test_a_mistake_is_a_sentence_and_exit_code_2(
    arguments, error, named, ez, monkeypatch, tmp_path
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    code, out, err = ez(*arguments)
    assert code == 2
    assert named in " ".join(err.split())
    assert (ez.error and ez.error.code) == error
    assert "Traceback" not in out + err
    assert not list(tmp_path.rglob("*.toml"))  # it can be mended under the same name


def test_an_unknown_name_where_there_is_none_suggests_nothing(ez):
    ez("study", "status", "x")
    check(ez.error, "EZ-UNKNOWN-STUDY", "'x'")
    assert "Available" not in ez.error.hint


def test_an_unknown_run_suggests(ez, tmp_path):
    RunFolder(run_path(tmp_path, "run")).create(tiny())
    assert ez("resume", "rum", "--runs-dir", tmp_path)[0] == 2
    check(ez.error, "EZ-UNKNOWN-RUN", "'rum'", "'run'")


def test_a_failure_is_exit_code_1(ez, monkeypatch):
    def fail(*_):
        raise EnvError("EZ-ENV-CONTRACT", "It broke [here].", "Mend it.")

    monkeypatch.setattr(training, "train", fail)
    assert ez("train", "--env", "catch") == (1, "", "error: It broke [here].\nMend it.\n")


def test_debug_shows_the_traceback_and_changes_nothing_else(monkeypatch, capsys):
    def fail(*_):
        raise ConfigError("EZ-CONFIG-VALUE", "It broke.")

    monkeypatch.setattr(training, "train", fail)
    monkeypatch.setattr(sys, "argv", ["ez", "--debug", "train", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "error: It broke." in err


def test_a_defect_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(training, "train", lambda *_: 1 / 0)
    monkeypatch.setattr(sys, "argv", ["ez", "train", "--quiet"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


# ------------------------------------------------------------------ configs and presets


@pytest.mark.parametrize("options", [[], ["--game", "breakout"], ["--set", "seed=4"]], ids=str)
def test_config_show_is_the_same_in_every_form(options, ez):
    code, text, _ = ez("config", "show", "--preset", "atari100k", *options)
    assert code == 0
    code, as_json, _ = ez("config", "show", "--preset", "atari100k", *options, "--json")
    assert code == 0
    code, explained, _ = ez("config", "show", "--preset", "atari100k", *options, "--explain")
    assert code == 0
    assert (
        "# age of data that lowers td_steps by 1, as a share of schedule.env_steps\ntd_age_fraction"
        in explained
    )
    assert tomllib.loads(text) == json.loads(as_json) == tomllib.loads(explained)
    assert re.match(r"# identity [0-9a-f]{12}\n", text)


def test_options_and_overrides_are_in_the_config(ez):
    _, out, _ = ez(
        *("config", "show", "--preset", "smoke", "--game", "ms_pacman", "--seed", "7"),
        *("--set", "search.num_simulations=25", "--json"),
    )
    shown = json.loads(out)
    assert shown["env"]["game"] == "ms_pacman"
    assert (shown["seed"], shown["search"]["num_simulations"]) == (7, 25)


def test_a_preset_of_ones_own(ez, tmp_path):
    _, text, _ = ez("config", "show", "--preset", "smoke", "--seed", "9")
    (tmp_path / "mine.toml").write_text(text)
    assert ez("config", "show", "--preset", "mine.toml") == (0, text, "")


def test_the_settings_of_a_run_become_a_preset(ez, tmp_path):
    config = tiny("catch", "search.num_simulations=7", "seed=4")
    RunFolder(run_path(tmp_path / "runs", "first")).create(config)
    code, out, err = ez("config", "save", "--from", "fir", "-o", "mine.toml")
    assert (code, err) == (0, "Wrote mine.toml.\n")
    assert out == "Train with it: ez train --preset mine.toml --seed 5\n"
    first, *_ = (tmp_path / "mine.toml").read_text().splitlines()
    assert first == f"# Settings of the run first (identity {config.identity})."
    assert f"# identity {config.identity}\n" in ez("config", "show", "--preset", "mine.toml")[1]
    assert ez("config", "save", "--from", "first", "-o", "mine.toml")[0] == 2
    check(ez.error, "EZ-PATH-EXISTS", "'mine.toml'")
    assert ez("config", "save", "--from", "first", "-o", "mine")[0] == 2
    check(ez.error, "EZ-CONFIG-NOT-A-PRESET", "'mine'", "'mine.toml'")
    assert ez("config", "save", "--from", "first", "-o", "no/mine.toml")[0] == 2
    check(ez.error, "EZ-PATH-NO-FOLDER", "'no'")
    assert ez("config", "save", "--from", "frist", "-o", "other.toml")[0] == 2
    check(ez.error, "EZ-UNKNOWN-RUN", "'frist'", "'first'")


def test_presets(ez):
    code, out, _ = ez("presets")
    assert code == 0
    for name in preset_names():
        assert re.search(rf"^{name} ", out, re.MULTILINE)
    assert "120,000" in out
    code, out, _ = ez("presets", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows.keys() == set(preset_names())
    assert rows["atari100k"]["train_steps"] == 120_000
    assert rows["atari100k"]["env_steps"] == 100_000
    assert all(row["about"] for row in rows.values())


@pytest.mark.parametrize(
    ("options", "has_gpu", "preset", "why"),
    [
        (["--game", "pong"], False, "atari-cpu", "there is no GPU"),
        (["--game", "pong"], True, "atari100k", "there is a GPU, Big One"),
        (["--game", "pong", "--device", "cpu"], True, "atari-cpu", "which --device selects"),
        (["--env", "atari"], False, "atari-cpu", "there is no GPU"),
        (["--env", "catch"], True, "catch", "it is the preset for this game"),
        (["--env", "keydoor"], False, "keydoor", "it is the preset for this game"),
        (["--env", "rooms.py:Room"], False, "catch", "for frames of few pixels"),
    ],
)
def test_without_a_preset_it_chooses_and_says_so(
    options, has_gpu, preset, why, ez, untrained, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Big One")
    Path("rooms.py").touch()
    code, out, _ = ez("train", *options)
    line = out.splitlines()[0]
    assert code == 0
    assert line.startswith(f"Preset {preset}: ")
    assert why in line
    assert line.endswith("Choose another with --preset.")
    assert preset in untrained[0][1].name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--preset", "smoke", "--game", "breakout"], "breakout-smoke-seed0"),
        (["--preset", "smoke", "--seed", "3"], "pong-smoke-seed3"),
        (["--env", "keydoor"], "keydoor-seed0"),
        (["--env", "keydoor", "--preset", "catch"], "keydoor-catch-seed0"),
        (["--env", "rooms.py:Room", "--preset", "catch"], "room-catch-seed0"),
        (["--preset", "smoke", "--name", "mine"], "mine"),
    ],
)
def test_name_of_a_run(options, name, ez, untrained):
    Path("rooms.py").touch()
    ez("train", *options)
    assert str(untrained[0][1].path) == f"runs/{name}"


def test_changed_settings_are_in_the_name(ez, untrained):
    for simulations in (3, 5):
        ez("train", "--preset", "smoke", "--set", f"search.num_simulations={simulations}")
    (one, first), (two, second) = untrained
    assert first.name == f"pong-smoke-seed0-{one.identity[:6]}"
    assert second.name == f"pong-smoke-seed0-{two.identity[:6]}"
    assert first.name != second.name


# ------------------------------------------------------------------ whole runs


def interrupt(monkeypatch, number, after=4):
    """Sends a signal to this process after some events."""
    events = []

    def progress(self, event, config, rates):
        events.append(event)
        if len(events) == after:
            signal.raise_signal(number)

    for reporter in (console.TerminalReporter, console.QuietReporter):
        monkeypatch.setattr(reporter, "progress", progress)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_stop_says_how_to_go_on(number, code, ez, monkeypatch):
    interrupt(monkeypatch, number, after=1)
    found, out, err = ez(*TRAIN)
    assert found == code
    assert f"Stopped by {number.name} and saved. Continue with: ez resume runs/mine" in out
    assert err == ""
    assert RunFolder(Path("runs/mine")).read_info()["status"] == "interrupted"
    assert list(Path("runs/mine/checkpoints").iterdir())


def test_a_curve_is_promised_only_where_there_is_one(ez):
    _, out, _ = ez(*replaced(TRAIN, "evaluation.interval=0"))
    assert out.splitlines()[-2:] == [
        "Done. Watch it: ez watch runs/mine",
        "Tables: ez report runs/mine",
    ]


def test_threads_are_those_of_this_machine(ez, monkeypatch, tmp_path):
    folder = RunFolder(tmp_path / "runs" / "planned")
    folder.create(tiny())
    asked = []
    monkeypatch.setattr(
        training, "run_training", lambda config, *_: asked.append(config.compute.threads) or 0
    )
    assert ez("resume", "planned", "--threads", "3")[0] == 0
    assert (asked, folder.config().compute.threads) == ([3], tiny().compute.threads)


def test_train_resume_evaluate(ez, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGINT)
        out = ez(*TRAIN)[1]
    command = re.search(r"Continue with: ez (.*)", out).group(1)
    code, out, err = ez(*shlex.split(command))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert re.match(r"Run runs/mine \(identity [0-9a-f]{12}\)\.", lines[0])
    assert "Continuing from env_step 32, train_step 2." in lines
    assert any("% " in line and "env_steps " in line for line in lines)  # progress, plain
    assert any(line.startswith("final score at env_step 56: ") for line in lines)
    assert re.match(r"Interim scores: -?\d\.\d\d(, -?\d\.\d\d)*\.$", lines[-3])
    assert lines[-2] == "Done. Watch it: ez watch runs/mine"
    assert lines[-1] == "Tables and plots: ez report runs/mine --plots plots"
    assert ez("report", "runs/mine", "--plots", "plots")[0] == 0
    assert "\x1b" not in out

    info = RunFolder(Path("runs/mine")).read_info()
    assert (info["status"], info["preset"], info["preset_because"]) == (
        "finished",
        "smoke",
        "asked for",
    )
    assert info["environment"]["name"] == "catch"
    assert info["actions"] == ["stay", "left", "right"]
    assert (
        info["sessions"][0]["packages"]["torch"].partition("+")[0]
        == torch.__version__.partition("+")[0]
    )
    assert not {"host", "hostname", "user"} & info.keys()

    code, out, _ = ez(*TRAIN)  # the same command again
    assert (code, "mine is already finished." in out) == (0, True)
    assert ez(*TRAIN, "--seed", "1")[0] == 2
    check(ez.error, "EZ-RUN-OTHER-CONFIG", "seed: 0 there, 1 now")

    code, out, _ = ez("evaluate", "mine", "--episodes", "3", "--json")
    line = json.loads(out)
    assert (code, line["kind"], len(line["scores"])) == (0, "manual", 3)
    assert RunFolder(Path("runs/mine")).read("evaluations.jsonl")[-1] == line
    code, out, _ = ez("evaluate", "runs/mine")
    assert (code, out.startswith("manual score at env_step 56: ")) == (0, True)
    code, out, _ = ez("evaluate", "mine", "--planner", "gumbel", "--simulations", "3", "--json")
    line = json.loads(out)
    assert (code, line["name"]) == (0, "planner=gumbel,simulations=3")
    changes = {"planning.evaluation": "gumbel", "search.num_simulations": 3}
    assert line["protocol"]["changes"] == changes
    assert ez("evaluate", "mine", "--planner", "gumbol")[0] == 2
    check(ez.error, "EZ-CONFIG-VALUE", "--planner", "gumbel")
    code, out, _ = ez("report", "mine", "--evaluation", line["name"])
    assert (code, "planning.evaluation=gumbel" in out) == (0, True)
    assert ez("report", "mine", "--evaluation", "other")[0] == 1
    check(ez.error, "EZ-REPORT-NO-SCORE", "'other'", line["name"])
    assert line["name"] in ez("runs", "show", "mine")[1]
    assert ez("evaluate", "mine", "--sticky", "0.25")[0] == 2
    check(ez.error, "EZ-CONFIG-UNKNOWN-KEY", "'env.sticky'", "not of catch")
    assert RunFolder(Path("runs/mine")).read("evaluations.jsonl")[-1] == line


def test_a_users_own_environment_and_quiet(ez, tmp_path):
    (tmp_path / "rooms.py").write_text(MY_ENV)
    sets = [part for setting in TINY for part in ("--set", setting)]
    code, out, err = ez("train", "--env", "rooms.py:Corridor", "--quiet", "--name", "x", *sets)
    assert (code, out, err) == (0, "", "")
    folder = RunFolder(tmp_path / "runs" / "x")
    assert folder.read_info()["status"] == "finished"
    assert folder.read_info()["environment"] == {"name": "corridor"}
    assert folder.read("evaluations.jsonl")[-1]["max"] <= 1


def test_a_broken_environment_is_named(ez, tmp_path):
    (tmp_path / "rooms.py").write_text(MY_ENV.replace("np.uint8", "np.float32"))
    code, out, err = ez("train", "--env", "rooms.py:Corridor", "--name", "x", *SETS[:4])
    assert code == 1
    check(ez.error, "EZ-ENV-CONTRACT", "'Corridor'", "float32", "uint8")
    assert "Traceback" not in out + err


def test_doctor(ez, monkeypatch):
    code, out, err = ez("doctor", "--preset", "smoke")
    assert (code, err) == (0, "")
    assert out.startswith("ok   Python: ")
    monkeypatch.setattr("ezcli.runs.cost.needs", lambda config: Cost(None, 2**60, 0))
    code, out, _ = ez("doctor", "--preset", "smoke")
    assert code == 1
    assert re.search(r"^not  Memory: ", out, re.MULTILINE)
    code, out, _ = ez("doctor", "--preset", "smoke", "--json")
    (memory,) = (check for check in json.loads(out)["checks"] if check["name"] == "Memory")
    assert (code, memory["ok"]) == (1, False)
    assert memory["remedy"]


# ------------------------------------------------------------------ as a process


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_process_that_is_told_to_stop(number, code, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ezcli", *replaced(TRAIN, "schedule.env_steps=80000000")]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    metrics = tmp_path / "runs/mine/metrics.jsonl"
    try:
        while not metrics.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert b"Continue with: ez resume runs/mine" in out
    assert err == b""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["train", "--game", "nosuch"], ["resume", "nosuch"]])
def test_a_process_without_a_traceback(arguments, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "ezcli", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_train_without_options_shows_its_help(ez, untrained):
    _, out, err = ez("train")
    assert "Usage: " in out + err
    assert "Example: ez train --game pong" in out + err
    assert list(Path().iterdir()) == []
