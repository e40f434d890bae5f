"""Changed files of a study: every command refuses them, and changes nothing."""

import json
import shutil

import pytest

from ezcli.experiments import estimate
from ezcli.experiments import study as study_module
from ezcli.experiments.launchers.cluster import Cluster
from ezcli.experiments.schedule import Outcome, Scheduler
from ezcli.experiments.study import plan
from ezcli.runs.json_files import append_line
from tests.experiments.helpers import make_study, save, without_seals
from tests.failing import check, fails
from tests.reports.helpers import write_study
from tests.runs.helpers import contents, tiny

FILES = ("study.json", "preset.toml", "launcher.toml", "attempts.jsonl")
COMMANDS = {
    "ablate": ("ablate", "--study", "mine"),
    "dry-run": ("ablate", "--study", "mine", "--dry-run"),
    "json": ("ablate", "--study", "mine", "--json"),
    "commands": ("ablate", "--study", "mine", "--print-commands"),
    "more seeds": ("ablate", "--study", "mine", "--seeds", "5", "--dry-run"),
    "status": ("study", "status", "mine"),
    "cancel": ("study", "cancel", "mine"),
    "report": ("report", "mine"),
}


def complete(folder, study):
    """The study with all of its files, as a command leaves it."""
    folder.save_launcher(Cluster().to_toml())
    for run in plan(study, {}):
        append_line(folder.attempts, {"run": run.name, "seconds": 17.5, "result": "finished"})
    folder.save(study, plan(study, {}))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    runs_dir = tmp_path_factory.mktemp("made") / "runs"
    folder = write_study(runs_dir, lambda *_: 0.5)
    complete(folder, folder.study())
    return runs_dir


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        estimate, "measure", lambda _: None
    )  # nothing trains, should one not refuse
    monkeypatch.setattr(Scheduler, "run", lambda self: Outcome(self.runs, [], [], [], None))
    shutil.copytree(made, tmp_path / "runs")
    return study_module.StudyFolder(tmp_path / "runs", "mine")


@pytest.fixture
def small(tmp_path):
    """A study of a run that takes no time."""
    return complete(save(tmp_path, make_study()).folder, make_study())


def change_a_digit(path):
    """Of the last number that is not in a checksum."""
    lines = path.read_text().splitlines(keepends=True)
    number = max(i for i, line in enumerate(lines) if "sha256" not in line and digits(line))
    place = digits(lines[number])[-1]
    digit = "1" if lines[number][place] != "1" else "2"
    lines[number] = lines[number][:place] + digit + lines[number][place + 1 :]
    path.write_text("".join(lines))


def digits(line):
    return [place for place, letter in enumerate(line) if letter.isdigit()]


def lose_the_first_line(path):
    path.write_text(path.read_text().partition("\n")[2])


def become_empty(path):
    path.write_text("")


def remove(path):
    path.unlink()


HARMS = [
    *((file, change_a_digit) for file in FILES if file != "launcher.toml"),
    *((file, lose_the_first_line) for file in FILES),
    *((file, become_empty) for file in FILES),
    *((file, remove) for file in FILES if file != "study.json"),
]


@pytest.mark.parametrize(("file", "harm"), HARMS)
def test_a_file_that_was_changed_is_named(small, file, harm):
    small.study()
    harm(small.path / file)
    with fails("EZ-STUDY-DAMAGED", f"{file}'"):
        small.study()
    with fails("EZ-STUDY-DAMAGED", f"{file}'"):
        small.record()


def test_a_digit_of_launcher_toml(small):
    text = small.launcher_file.read_text()
    small.launcher_file.write_text(text.replace('launcher = "local"', 'launcher = "slurm"'))
    with fails("EZ-STUDY-DAMAGED", "launcher.toml'"):
        small.record()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("file", ["preset.toml", "study.json"])
def test_every_command_refuses_and_changes_nothing(folder, ez, command, file):
    change_a_digit(folder.path / file)
    before = contents(folder.runs_dir)
    assert ez(*command)[0] != 0
    check(ez.error, "EZ-STUDY-DAMAGED", f"{file}'")
    left = contents(folder.runs_dir)
    assert {name: x for name, x in left.items() if ".lock" not in str(name)} == before


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_contradiction_in_a_study_without_seals_is_refused(folder, ez, command):
    without_seals(folder)
    text = folder.preset_file.read_text()
    folder.preset_file.write_text(text.replace("num_simulations = 50", "num_simulations = 49"))
    before = contents(folder.runs_dir)
    assert ez(*command)[0] != 0
    check(ez.error, "EZ-STUDY-DAMAGED", "study.json'", "preset.toml", "full on pong")
    left = contents(folder.runs_dir)
    assert {name: x for name, x in left.items() if ".lock" not in str(name)} == before


def test_a_preset_that_was_changed_trains_nothing(folder, ez):
    """A study's preset may be named like any other."""
    change_a_digit(folder.preset_file)
    assert ez("train", "--preset", folder.preset_file, "--name", "new")[0] == 2
    check(ez.error, "EZ-CONFIG-CHANGED", "preset.toml'")
    lose_the_first_line(folder.preset_file)  # as the hint says, for a copy of one's own
    assert ez("config", "show", "--preset", folder.preset_file)[0] == 0


def test_the_others_are_listed_and_reported(folder, ez):
    change_a_digit(folder.preset_file)
    (row,) = json.loads(ez("study", "status", "--json")[1])
    assert "preset.toml'" in row["error"]
    found = json.loads(ez("report", "--format", "json")[1])
    assert any("The study mine is left out" in note for note in found["notes"])


def test_attempts_may_be_added_and_are_sealed_at_the_end(small):
    append_line(small.attempts, {"run": "x", "result": "stopped"})
    with small.attempts.open("a") as handle:
        handle.write('{"torn')  # by a kill
    small.save(small.study(), plan(small.study(), {}))
    append_line(small.attempts, {"run": "x", "result": "finished"})
    small.save(small.study(), plan(small.study(), {}))
    change_a_digit(small.attempts)
    with fails("EZ-STUDY-DAMAGED", "attempts.jsonl'"):
        small.study()


def test_a_study_without_seals_goes_on_and_gets_them(small):
    before = small.study()
    without_seals(small)
    assert small.study() == before
    small.save_launcher(Cluster().to_toml())
    small.save(before, plan(before, {}))
    assert small.study() == before
    change_a_digit(small.preset_file)
    with fails("EZ-STUDY-DAMAGED", "preset.toml'"):
        small.study()


class Killed(BaseException):
    """Instead of a kill."""


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("last", range(4))
def test_a_kill_between_two_files_loses_nothing(tmp_path, monkeypatch, is_new, last):
    """The next command goes on, and another preset under that name is not taken for this one."""
    one, grown = make_study(), make_study(seeds=(0, 1, 2))
    folder = study_module.StudyFolder(tmp_path, one.name)
    if not is_new:
        complete(save(tmp_path, one).folder, one)
    folder.path.mkdir(parents=True, exist_ok=True)
    written = []

    def write(path, content):
        if len(written) == last:
            raise Killed
        written.append(path.name)
        write_atomically(path, content)

    write_atomically = study_module.write_atomically
    monkeypatch.setattr(study_module, "write_atomically", write)
    try:
        folder.save_launcher(Cluster().to_toml())
        folder.save(grown, plan(grown, {}))
    except Killed:
        pass
    monkeypatch.undo()
    if folder.exists:
        assert folder.study() in (one, grown)
    else:
        assert is_new
        one = make_study(base=tiny("catch", "loss.batch_size=5"))
    asked, _ = folder.merge(one)
    folder.save_launcher(Cluster().to_toml())
    folder.save(asked, plan(asked, {}))
    assert folder.study() == asked
