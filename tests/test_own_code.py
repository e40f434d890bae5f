"""The code of a user's environment belongs to the run: changed code makes another run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, with_changes
from ezcli.config.run import settings_of_agent, without_neutral
from ezcli.envs.code import changes, code_of, locate
from ezcli.envs.custom_suite import CustomSettings
from ezcli.envs.make import make_env
from ezcli.experiments import estimate
from ezcli.experiments.handover import PROGRAM
from ezcli.experiments.schedule import Outcome, Scheduler
from ezcli.experiments.study import StudyFolder
from ezcli.runs.cost import Cost, Finished
from ezcli.runs.folder import RunFolder
from ezcli.settings import Settings
from tests.experiments.helpers import without_seals
from tests.failing import check, fails
from tests.runs.helpers import TINY
from tests.test_cli import MY_ENV

SETS = [part for setting in TINY for part in ("--set", setting)]
OWN = ["--env", "game.py:Corridor", "--preset", "smoke", *SETS]
TRAIN = ["train", *OWN, "--quiet"]
# `ez config show --preset NAME` of version 0.1.0; atari100k has changed since then.
IDENTITIES = {
    "atari100k": "ffeaea78594a",
    "atari-cpu": "5104b77fc62c",
    "catch": "6f9488db6b58",
    "keydoor": "c370dc40f2ac",
    "smoke": "c0a55b617afa",
}


@pytest.fixture
def game(tmp_path, monkeypatch):
    """The file of an environment, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "game.py"
    path.write_text(MY_ENV)
    return path


def pay(game, prize):
    """Another prize behind the door; the file keeps its size and its second."""
    game.write_text(MY_ENV.replace("float(is_there)", f"float(is_there) * {prize}"))


def the_run(runs_dir="runs"):
    """The one run of a folder of runs."""
    (config,) = Path(runs_dir).glob("*/config.toml")
    return RunFolder(config.parent)


# ------------------------------------------------------------------ identity


@pytest.mark.parametrize("preset", IDENTITIES)
def test_identities_of_presets_never_change(preset):
    assert resolve(read_toml(preset_path(preset))).identity == IDENTITIES[preset]


@pytest.mark.parametrize("auxiliary", ["none", "simsiam", "spr", "reconstruction"])
@pytest.mark.parametrize("consistency", [True, False])
def test_agents_without_an_auxiliary_loss_are_one(auxiliary, consistency):
    changes = {"loss.auxiliary": auxiliary, "components.consistency": consistency}
    config = with_changes(resolve(read_toml(preset_path("catch"))), changes)
    without = with_changes(config, {"components.consistency": False, "loss.auxiliary": "simsiam"})
    assert without.identity == "23285f09075e"  # that of version 0.1.0
    is_dropped = auxiliary == "none" or not consistency
    assert (config.identity == without.identity) == is_dropped
    assert (settings_of_agent(config) == settings_of_agent(without)) == is_dropped


def test_an_environment_of_unknown_code_keeps_its_identity():
    tables = read_toml(preset_path("catch"))
    tables["env"] = {"name": "custom", "target": "g.py:C"}
    assert resolve(tables).identity == "fc1d5a5e4215"  # that of version 0.1.0


def test_a_field_with_its_neutral_value_does_not_enter_the_identity():
    class Inner(Settings):
        old: int
        new: int = Field(default=3, json_schema_extra={"neutral": 1})

    class Outer(Settings):
        inner: Inner
        late: str = Field(default="", json_schema_extra={"neutral": ""})

    def entering(**values):
        model = Outer.model_validate(values)
        return without_neutral(model, model.model_dump(mode="json"))

    assert entering(inner={"old": 1, "new": 1}) == {"inner": {"old": 1}}
    assert entering(inner={"old": 1}, late="x") == {"inner": {"old": 1, "new": 3}, "late": "x"}


def test_the_folder_of_known_code_decides_nothing():
    tables = read_toml(preset_path("catch"))
    tables["env"] = {"name": "custom", "target": "/a/g.py:C", "code": {"g.py": "1"}}
    there = resolve(tables)
    assert there.identity == with_changes(there, {"env.target": "/b/c/g.py:C"}).identity
    assert there.identity != with_changes(there, {"env.target": "/a/h.py:C"}).identity
    assert there.identity != with_changes(there, {"env.code": {"g.py": "2"}}).identity


# ------------------------------------------------------------------ what the code is


def write(folder, files):
    """Files of Python by name; `/` separates folders."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"game": ""}, {"game.py"}),
        ({"game": "import helper", "helper": ""}, {"game.py", "helper.py"}),
        ({"game": "import helper", "helper": "import far", "far": ""}, {"far.py"}),
        ({"game": "from helper import *", "helper": ""}, {"helper.py"}),
        ({"game": "def f():\n import helper", "helper": ""}, {"helper.py"}),
        ({"game": "import one, two as t", "one": "", "two": ""}, {"one.py", "two.py"}),
        ({"game": "from lib import part", "lib/part": ""}, {"lib/part.py"}),
        ({"game": "import lib.part", "lib/part": "", "lib/init": ""}, {"lib/part.py"}),
        ({"game": "import lib", "lib/__init__": "from . import a", "lib/a": ""}, {"lib/a.py"}),
        ({"game": "import lib", "lib/__init__": "from .a import b", "lib/a": ""}, {"lib/a.py"}),
        (
            {"game": "import lib.a", "lib/__init__": "", "lib/a": "from . import b", "lib/b": ""},
            {"lib/__init__.py", "lib/a.py", "lib/b.py"},
        ),
        ({"game": "import a", "a": "import b", "b": "import a, game"}, {"a.py", "b.py"}),
        ({"game": "import importlib as i\ni.import_module('h')", "h": ""}, {"h.py"}),
        ({"game": "import helper", "helper": "not Python ("}, {"helper.py"}),
    ],
)
def test_the_code_is_the_file_and_what_it_imports_beside_it(tmp_path, files, found):
    write(tmp_path, files)
    before = code_of(f"{tmp_path / 'game.py'}:C")
    assert found | {"game.py"} <= before.keys()
    assert len(before) <= len(files)
    for name in found:
        with (tmp_path / name).open("a") as file:
            file.write("#\n")
        now = code_of(f"{tmp_path / 'game.py'}:C")
        assert changes(before, now).startswith(f"{name} changed (from {before[name]} to ")
        before = now


@pytest.mark.parametrize("name", ["queue", "numpy", "ezcli", "typer", "unrelated"])
def test_files_that_are_not_imported_do_not_count(tmp_path, name):
    files = {"game": "import queue, numpy, ezcli.envs.protocol, typer", name: "1 / 0"}
    write(tmp_path, files)
    assert code_of(f"{tmp_path / 'game.py'}:C").keys() == {"game.py"}


def test_packages_of_an_environment_of_python_beside_the_file_do_not_count(tmp_path, monkeypatch):
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    write(installed, {"helper_of_others": ""})
    monkeypatch.syspath_prepend(installed)
    write(tmp_path, {"game": "import helper_of_others"})
    assert code_of(f"{tmp_path / 'game.py'}:C").keys() == {"game.py"}


def test_a_module_counts_with_its_package_and_version(tmp_path, monkeypatch):
    installed = tmp_path / "site-packages"
    package = {
        "my_games/__init__": "",
        "my_games/corridor": "from my_games import walls",
        "my_games/walls": "",
        "my_games/unused": "",
    }
    write(installed, package)
    about = installed / "my_games-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-games\nVersion: 1.2\n")
    (about / "RECORD").write_text("my_games/__init__.py,,\n")
    monkeypatch.syspath_prepend(installed)
    before = code_of("my_games.corridor:C")
    files = {"my_games/__init__.py", "my_games/corridor.py", "my_games/walls.py"}
    assert before.keys() == {*files, "my-games (version)"}
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-games\nVersion: 1.3\n")
    now = code_of("my_games.corridor:C")
    assert changes(before, now) == "my-games (version) changed (from 1.2 to 1.3)"


def test_what_is_not_there_is_said():
    with fails("EZ-ENV-NO-FILE", "'none.py'"):
        code_of("none.py:C")
    with fails("EZ-ENV-NO-MODULE", "'no_such_module'"):
        code_of("no_such_module:C")
    said = changes({"a.py": "1", "b.py": "2"}, {"b.py": "2", "c.py": "3"})
    assert said == "a.py is missing or no longer imported; c.py is new"


def test_the_file_is_found_where_it_was_or_in_this_folder(game, tmp_path, monkeypatch):
    target, code = f"{game}:Corridor", code_of(f"{game}:Corridor")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert locate(target, code) == target
    shutil.move(game, "game.py")
    assert locate(target, code) == "game.py:Corridor"
    game.write_text("another")
    assert locate(target, code) == "game.py:Corridor"
    Path("game.py").unlink()
    with fails("EZ-ENV-OTHER-CODE", "game.py"):
        locate(target, code)


def test_files_beside_the_environment_are_imported_after_all_others(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for folder, prize in (("one", 1), ("two", 2)):
        own = MY_ENV.replace("float(is_there)", "float(own_helper.PRIZE)")
        files = {
            "queue": "raise SystemExit('it ran')",
            "own_helper": f"PRIZE = {prize}",
            "game": f"import queue, own_helper\n{own}",
        }
        write(tmp_path / folder, files)
        target = f"{tmp_path / folder / 'game.py'}:Corridor"
        settings = CustomSettings(name="custom", target=target, code=code_of(target))
        env = make_env(settings, evaluation=False)
        env.reset(0)
        assert env.step(1).reward == prize


def test_code_is_executed_once_in_a_process(game, ez):
    game.write_text(f"with open('loads', 'a') as f: f.write('x')\n{MY_ENV}")
    assert ez(*TRAIN) == (0, "", "")
    assert Path("loads").read_text() == "x"


# ------------------------------------------------------------------ runs


def test_changed_code_is_refused_by_all_that_play_a_run(game, ez):
    assert ez(*TRAIN) == (0, "", "")
    folder = the_run()
    assert folder.config().env.code == code_of("game.py:Corridor")
    assert folder.config().env.target == f"{game}:Corridor"
    for command in (["evaluate", folder.path], ["watch", folder.path, "--max-steps", "2"]):
        assert ez(*command)[0] == 0
    pay(game, 10)
    before = {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()}
    for command in ("resume", "evaluate", "watch"):
        assert ez(command, folder.path)[:2] == (2, "")
        check(ez.error, "EZ-ENV-OTHER-CODE", "game.py")
    said = " ".join(ez("report", folder.path)[1].split())
    assert "game.py changed" in said
    assert "The scores were measured with the recorded code." in said
    assert before == {file: file.read_bytes() for file in folder.path.rglob("*") if file.is_file()}
    assert ez(*TRAIN, "--name", folder.name)[0] == 2
    check(ez.error, "EZ-RUN-OTHER-CONFIG", "code of game.py: '")
    game.write_text(MY_ENV)
    assert "is already finished" in ez("resume", folder.path)[1]


def test_code_of_the_same_size_and_second_is_another(game, ez):
    Path("helper.py").write_text("PRIZE = 1\n")
    own = MY_ENV.replace("float(is_there)", "float(helper.PRIZE)")
    game.write_text(f"import helper\n{own}")
    stamp = os.stat("helper.py")
    assert ez(*TRAIN, "--name", "one")[0] == 0
    Path("helper.py").write_text("PRIZE = 7\n")
    os.utime("helper.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    loud = (part for part in TRAIN if part != "--quiet")
    code, out, _ = ez(*loud, "--name", "two")
    assert code == 0
    assert "New code since the run 'one': helper.py changed (from" in out
    scores = [
        RunFolder(Path("runs") / name).read("evaluations.jsonl")[-1]["mean"]
        for name in ("one", "two")
    ]
    assert scores[1] >= 7 > scores[0]  # at least one env_step in each game


def test_a_run_goes_on_from_another_folder(game, ez, monkeypatch, tmp_path):
    assert ez(*TRAIN)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ez("evaluate", the_run(tmp_path / "runs").path)[0] == 0


def make_old(folder):
    """The run as version 0.1.0 left it."""
    folder.update_info(code=None)


def test_a_run_of_unknown_code_goes_on_and_then_knows_it(game, ez):
    old = [*TRAIN[:-1], "--set", "env.code={}"]
    assert ez(*old)[0] == 0
    folder = the_run()
    make_old(folder)
    code, out, err = ez("evaluate", folder.path)
    assert (code, "has no record of the code of 'game.py:Corridor'" in out + err) == (0, True)
    assert folder.noted_code() == code_of("game.py:Corridor")
    assert "no record" not in "".join(map(str, ez("evaluate", folder.path)))
    code, out, _ = ez("train", *OWN, "--name", folder.name)
    assert (code, "is already finished" in out) == (0, True)
    pay(game, 10)
    for command in ("resume", "evaluate", "watch"):
        ez(command, folder.path)
        check(ez.error, "EZ-ENV-OTHER-CODE", "game.py")


# ------------------------------------------------------------------ presets and studies


def test_a_preset_of_recorded_code_is_of_that_code(game, ez):
    Path("mine.toml").write_text(ez("config", "show", *OWN)[1])
    shown = ez("config", "show", "--preset", "mine.toml")[1]
    assert shown == Path("mine.toml").read_text()
    pay(game, 10)
    for command in (["config", "show"], ["cost", "--no-measure"], ["train"], ["bench", "tree"]):
        assert ez(*command, "--preset", "mine.toml")[0] == 2
        check(ez.error, "EZ-ENV-OTHER-CODE", "game.py")
    assert ez("config", "show", "--preset", "mine.toml", "--env", "game.py:Corridor")[0] == 0


@pytest.fixture
def plan(ez, monkeypatch):
    """`ez ablate` of the game; nothing is timed or trained."""
    monkeypatch.setattr(estimate, "measure", lambda config: Finished(config, Cost(1.0, 1, 1)))
    monkeypatch.setattr(Scheduler, "run", lambda self: Outcome(self.runs, [], [], [], None))

    def call(*options):
        return ez("ablate", "--drop", "value-prefix", *OWN, "--study", "s", *options)

    return call


def test_a_study_is_of_one_code(game, ez, plan):
    assert plan("--seeds", "1", "--quiet")[0] == 0
    assert plan("--seeds", "2", "--dry-run")[0] == 0
    pay(game, 10)
    assert plan("--seeds", "3", "--dry-run")[0] == 2
    check(ez.error, "EZ-STUDY-OTHER-AGENT", "code of game.py: '")
    assert ez("ablate", "--study", "s", "--dry-run")[0] == 2
    check(ez.error, "EZ-ENV-OTHER-CODE", "game.py")
    ez("train", "--preset", "runs/studies/s/preset.toml")
    check(ez.error, "EZ-ENV-OTHER-CODE", "game.py")


def test_a_study_of_unknown_code_goes_on_as_that(game, ez, plan):
    assert plan("--seeds", "1", "--set", "env.code={}", "--quiet")[0] == 0
    without_seals(StudyFolder(Path("runs"), "s"))
    preset = Path("runs/studies/s/preset.toml")
    preset.write_text(preset.read_text().replace("[env.code]\n", ""))  # as version 0.1.0 has it
    assert plan("--seeds", "2", "--quiet")[0] == 0
    assert plan("--seeds", "2", "--print-commands")[0] == 0
    cells = json.loads(Path("runs/studies/s/study.json").read_text())["cells"]
    shown = ez("config", "show", "--preset", preset, "--set", "env.code={}", "--seed", "1")[1]
    assert f"# identity {cells[-2]['identity']}\n" in shown
    assert RunFolder(Path("runs") / cells[0]["run"]).config().env.code == {}
    assert ez("resume", cells[0]["run"])[0] == 0
    assert ez("ablate", "--study", "s", "--dry-run")[0] == 0
    pay(game, 10)
    assert ez("--trust", "ablate", "--study", "s", "--dry-run")[0] == 2
    check(ez.error, "EZ-ENV-OTHER-CODE", "game.py")


@pytest.mark.slow
def test_children_find_the_code_and_no_other_file(game, tmp_path):
    game.write_text(f"import helper\n{MY_ENV}")
    write(tmp_path, {"helper": "", "queue": "1 / 0", "tomli_w": "1 / 0"})
    for target in ("game.py:Corridor", "game:Corridor"):
        study = ["ablate", "--env", target, *OWN[2:], "--seeds", "1", "--study", target[:5]]
        done = subprocess.run(
            [*PROGRAM, *study], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_runs_of_different_code_are_in_no_table_together(game, ez):
    for seed, prize in ((0, 1), (1, 10)):
        pay(game, prize)
        assert ez(*TRAIN, "--seed", seed, "--name", f"new{seed}")[0] == 0
        assert ez(*TRAIN, "--seed", seed, "--name", f"old{seed}", "--set", "env.code={}")[0] == 0
    ez("report", "new0", "new1")
    check(ez.error, "EZ-REPORT-OTHER-AGENT", "env.code.game.py: ")
    assert ez("report", "old0", "old1")[0] == 1
    check(ez.error, "EZ-REPORT-OTHER-CODE", "'old0'", "'old1'", "game.py")
    out = ez("report")[1]
    assert "The runs of " in out
    assert "are left out: The code of the environment differs" in " ".join(out.split())


def test_new_code_is_compared_with_the_newest_run_that_is_alike(game, ez):
    loud = [part for part in TRAIN if part != "--quiet"]

    def said(name, *more):
        code, out, _ = ez(*loud, "--name", name, *more)
        assert code == 0
        return re.findall("New code since the run '(.*)':", out)

    assert said("one") == []
    game.write_text(MY_ENV + "# 2\n")
    assert said("two") == ["one"]
    assert said("other", "--set", "optimiser.learning_rate=0.5") == []  # more than code is new
    game.write_text(MY_ENV + "# 3\n")
    assert said("three") == ["two"]
