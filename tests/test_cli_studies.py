"""`ez ablate` and `ez study`, from their arguments to their output and files."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.commands import jobs, studies
from ezcli.errors import RunError
from ezcli.experiments import estimate
from ezcli.experiments.schedule import Outcome, Scheduler
from ezcli.experiments.study import StudyFolder
from ezcli.runs.cost import Cost, Finished
from ezcli.runs.folder import RunFolder
from tests.failing import check
from tests.reports.helpers import noisy, write_study
from tests.runs.helpers import ROOM, TINY, replaced, run, tiny

SETS = [part for setting in (*TINY, *ROOM["catch"]) for part in ("--set", setting)]
SMALL = ["--env", "catch", "--preset", "smoke", "--study", "mine", *SETS]
ABLATE = ["ablate", "--drop", "value-prefix", "--seeds", "2", *SMALL]


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """No measuring, no training; the machine has no GPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(
        estimate, "measure", lambda config: Finished(config, Cost(0.5, 2**30, 2**20))
    )
    monkeypatch.setattr(Scheduler, "run", finish)


def finish(scheduler):
    """As if every run had been trained."""
    for planned in scheduler.runs:
        folder = RunFolder(scheduler.folder.runs_dir / planned.name)
        if not folder.exists:
            folder.create(planned.config)
        folder.update_info(status="finished", identity=planned.config.identity)
    return Outcome(list(scheduler.runs), [], [], [], None)


def squeezed(text):
    return " ".join(text.split())


def test_the_plan_is_shown_before_anything_runs(ez):
    code, out, err = ez(*ABLATE)
    assert (code, err) == (0, "")
    out = squeezed(out)
    assert "Study mine: 2 arms x 2 seeds, 4 runs." in out
    assert "full nothing 0 0 2 − value prefix components.value_prefix = false 0 0 2" in out
    assert "The unfinished runs need about 2 h 00 min of training" in out
    assert "The hours of 2 runs are scaled from other settings." in out
    assert "a train_step timed now" in out
    assert out.index("The unfinished runs need") < out.index("Done: all 4 runs")


def test_a_study_too_short_to_learn_is_called_so_before_it_begins(ez):
    asked = ["ablate", "--env", "catch", "--drop", "value-prefix", "--dry-run", "--set"]
    out = squeezed(ez(*asked, "schedule.env_steps=520")[1])
    assert "Too short? catch: the preset catch had a mean return of 0.91 after 2,800" in out
    assert "Too short?" not in ez(*asked, "schedule.env_steps=3600")[1]


def test_a_dry_run_leaves_nothing(ez, tmp_path):
    code, out, _ = ez(*ABLATE, "--dry-run")
    assert (code, "4 runs" in out, list(tmp_path.iterdir())) == (0, True, [])


def test_json_is_the_plan_and_nothing_else(ez, tmp_path):
    code, out, _ = ez(*ABLATE, "--json")
    plan = json.loads(out)
    assert (code, list(tmp_path.iterdir())) == (0, [])
    assert [arm["name"] for arm in plan["arms"]] == ["full", "value-prefix"]
    assert [(r["state"], r["cells"][0]["seed"]) for r in plan["runs"]] == [
        ("new", 0),
        ("new", 0),
        ("new", 1),
        ("new", 1),
    ]
    assert plan["estimate"]["run_hours"] == 2.0


def test_commands_for_a_scheduler(ez, tmp_path):
    """One line for each run that is left; each has its folder, and there is no study."""
    plan = json.loads(ez(*ABLATE, "--json")[1])["runs"]
    code, out, _ = ez(*ABLATE, "--print-commands")
    assert (code, out.splitlines()) == (
        0,
        [f"ez resume {tmp_path / 'runs' / run['name']}" for run in plan],
    )
    assert not (tmp_path / "runs" / "studies").exists()
    for planned in plan:
        folder = RunFolder(tmp_path / "runs" / planned["name"])
        assert (folder.config().identity, folder.status()) == (planned["identity"], "new")
    assert ez(*ABLATE, "--print-commands")[1] == out
    ez(*ABLATE, "--quiet")
    assert ez(*ABLATE, "--print-commands")[1] == ""


def test_a_planned_run_has_not_begun(ez, tmp_path):
    """It is neither damaged nor missing, and `ez train` takes its folder for an equal run."""
    ez(*ABLATE, "--print-commands")
    listed = json.loads(ez("runs", "--json")[1])
    assert {(run["state"], run["preset"], run["score"]) for run in listed} == {
        ("new", "smoke", None)
    }
    name = listed[0]["name"]
    assert ez("doctor", name)[0] == 0
    assert "it has not started" in ez("report")[1]
    assert f"Start it with: ez resume runs/{name}" in ez("runs", "show", name)[1]
    counted = squeezed(ez(*ABLATE, "--dry-run")[1])
    assert "full nothing 0 0 2 − value prefix components.value_prefix = false 0 0 2" in counted
    assert ez("runs", "rm", name, "--yes")[0] == 0


@pytest.mark.slow
def test_a_printed_command_trains_its_run_from_any_folder(ez, tmp_path, monkeypatch):
    out = ez(*ABLATE, "--seeds", "1", "--print-commands")[1]
    monkeypatch.chdir("/")
    for line in reversed(out.splitlines()):
        assert ez(*shlex.split(line)[1:], "--quiet")[:2] == (0, "")
    monkeypatch.chdir(tmp_path)
    assert {run["state"] for run in json.loads(ez("runs", "--json")[1])} == {"finished"}
    plan = json.loads(ez(*ABLATE, "--seeds", "1", "--json")[1])
    assert {run["state"] for run in plan["runs"]} == {"finished"}


def test_what_is_finished_is_counted_and_not_run_again(ez):
    ez(*ABLATE)
    code, out, _ = ez(*ABLATE)
    assert code == 0
    assert "full nothing 2 0 0 − value prefix components.value_prefix = false 2 0 0" in squeezed(
        out
    )
    assert "All runs are finished." in out


def test_a_changed_score_is_neither_shown_nor_called_finished(ez, tmp_path):
    study = write_study(tmp_path / "runs", lambda *_: 0.5)
    name = study.record().cells[0].run
    path = tmp_path / "runs" / name / "evaluations.jsonl"
    folder = RunFolder(path.parent)
    folder.update_info(seals=folder.seals())
    path.write_text(path.read_text().replace("0.5", "0.9"))
    rows = {r["run"]: r for r in json.loads(ez("study", "status", study.name, "--json")[1])["runs"]}
    others = [row for run, row in rows.items() if run != name]
    assert {row["state"] for row in others} == {"finished"}
    assert (rows[name]["state"], rows[name]["score"]) == ("damaged", None)
    code, out, _ = ez("study", "status", study.name)
    assert (code, f"{len(others)} of {len(rows)} runs are finished" in out) == (0, True)
    assert "damaged" in out
    assert "0.9" not in out
    (listed,) = [x for x in json.loads(ez("study", "status", "--json")[1]) if "finished" in x]
    assert listed["finished"] == len(others)
    plan = json.loads(ez("ablate", "--study", study.name, "--json")[1])
    assert {r["name"]: r["state"] for r in plan["runs"]}[name] == "damaged"


@pytest.mark.slow
def test_a_run_of_ez_train_is_used(ez, tmp_path):
    run(tmp_path / "runs" / "by-hand", tiny("catch", "seed=1"))
    plan = json.loads(ez(*ABLATE, "--json")[1])
    assert [r["name"] for r in plan["runs"] if r["state"] == "finished"] == ["by-hand"]


def test_two_studies_share_the_full_agent(ez, tmp_path):
    ez(*ABLATE, "--quiet")
    ez("ablate", "--drop", "consistency", "--seeds", "2", *SMALL, "--study", "other", "--quiet")
    assert len(list((tmp_path / "runs").glob("catch-*"))) == 6


def test_it_goes_on_by_name_alone(ez):
    ez(*ABLATE, "--quiet")
    code, out, _ = ez("ablate", "--study", "mine")
    assert (code, "4 runs" in out) == (0, True)
    code, out, _ = ez("ablate", "--study", "mine", "--seeds", "3")
    assert "New in the study: seeds 2." in out
    assert "6 runs" in out


def test_games_are_added_by_the_studys_name(ez):
    own = ["--drop", "value-prefix", "--preset", "smoke", "--game", "pong", "--study", "s"]
    ez("ablate", *own, "--seeds", "1", "--quiet")
    plan = json.loads(ez("ablate", "--study", "s", "--game", "breakout", "--json")[1])
    assert (plan["preset"], plan["games"]) == ("smoke", ["pong", "breakout"])
    assert len(plan["runs"]) == 4
    assert ez("ablate", "--study", "s", "--game", "breakot")[0] == 2
    check(ez.error, "EZ-UNKNOWN-GAME", "'breakot'", "'breakout'")
    ez(*ABLATE, "--quiet")
    assert ez("ablate", "--study", "mine", "--game", "pong")[0] == 2
    check(ez.error, "EZ-CONFIG-PRESET-ENV", "'catch'")


def test_it_goes_on_by_name_although_the_preset_changed(ez, tmp_path):
    preset = tmp_path / "own.toml"
    text = (Path(__file__).parents[1] / "presets" / "smoke.toml").read_text()
    preset.write_text(text)
    asked = ["ablate", "--drop", "value-prefix", "--env", "catch", "--preset", "own.toml"]
    assert ez(*asked, "--quiet")[0] == 0
    preset.write_text(text.replace("num_simulations = ", "num_simulations = 1"))
    assert ez(*asked)[0] == 2
    go_on = "ez ablate --study catch-own-value-prefix"
    check(ez.error, "EZ-STUDY-OTHER-AGENT", "search.num_simulations: ", go_on)
    assert ez("ablate", "--study", "catch-own-value-prefix")[0] == 0


def test_defaults_are_said_in_one_line(ez):
    code, out, _ = ez("ablate", "--drop", "value-prefix", "--dry-run")
    assert code == 0
    first, second, *_ = out.splitlines()
    assert first.startswith("Preset catch: there is no GPU")
    assert second == "Study catch-value-prefix: 2 arms x 5 seeds, 10 runs."


def test_on_a_gpu_it_is_the_papers_setting(ez, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    _, out, _ = ez("ablate", "--drop", "value-prefix", "--dry-run")
    assert "Preset atari100k: there is a GPU, a GPU." in out
    assert "Game pong, from the preset." in out
    assert "2 arms x 1 game x 3 seeds, 6 runs." in out
    assert "runs at the same time: 1 (one for the GPU" in out


def test_games_seeds_and_sweeps(ez):
    asked = ["ablate", "--drop", "consistency", "--preset", "smoke", "--games", "atari26"]
    plan = json.loads(ez(*asked, "--game", "pong", "--seeds", "0,3,7", "--json")[1])
    assert len(plan["games"]) == 26
    assert plan["seeds"] == [0, 3, 7]
    assert len(plan["runs"]) == 26 * 3 * 2
    sweep = ["ablate", "--vary", "search.num_simulations=2,3", "--seeds", "4,", *SMALL]
    plan = json.loads(ez(*sweep, "--json")[1])
    assert [arm["name"] for arm in plan["arms"]] == ["full", "search.num_simulations=3"]
    assert plan["seeds"] == [4]


def test_what_equals_another_arm_is_said(ez):
    drops = ["--drop", "muzero", "--drop", "consistency+off-policy-correction+value-prefix"]
    _, out, _ = ez("ablate", *drops, *SMALL, "--dry-run")
    assert "is the same as 'MuZero', so it is trained once." in squeezed(out)
    assert "2 arms" in out


def test_jobs_are_what_cores_and_memory_hold(ez, monkeypatch):
    monkeypatch.setattr("ezcli.runs.compute.num_cores", lambda: 8)
    monkeypatch.setattr(jobs, "needs", lambda config: Cost(None, 2**30, 0))
    monkeypatch.setattr(jobs.doctor, "free_memory", lambda: 3 * 2**30)
    assert "at the same time: 3 (limited by cores" in squeezed(ez(*ABLATE, "--dry-run")[1])
    monkeypatch.setattr(jobs.doctor, "free_memory", lambda: None)
    assert "at the same time: 4 (limited by cores" in squeezed(ez(*ABLATE, "--dry-run")[1])
    monkeypatch.setattr(jobs.doctor, "free_memory", lambda: 1)
    assert "at the same time: 1 (limited by cores" in squeezed(ez(*ABLATE, "--dry-run")[1])
    assert "at the same time: 7 (as asked)" in squeezed(ez(*ABLATE, "--jobs", 7, "--dry-run")[1])
    at = ABLATE.index("compute.device='cpu'")
    devices = [*ABLATE[: at - 1], *ABLATE[at + 1 :], "--dry-run", "--devices"]
    assert "at the same time: 2 (one for each" in squeezed(ez(*devices, "cuda:0, cuda:1")[1])
    shared = [*devices, "cuda:0, cuda:1", "--runs-per-gpu", "3"]
    assert "at the same time: 6 (3 for each" in squeezed(ez(*shared)[1])


def test_runs_share_a_gpu_only_where_there_is_one(ez, monkeypatch):
    shared = [*ABLATE, "--runs-per-gpu", "3", "--dry-run"]
    assert ez(*shared)[0] == 2
    check(ez.error, "EZ-STUDY-NO-GPU", "--runs-per-gpu", "--jobs")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("ezcli.commands.ablate.check_devices", lambda *_, **__: None)
    assert ez(*ABLATE, "--dry-run")[0] == 0  # which was asked for nothing of the kind
    auto = replaced(shared, "compute.device=auto")
    assert "at the same time: 3 (3 for the GPU" in squeezed(ez(*auto)[1])


@pytest.mark.parametrize(
    ("outcome", "code", "says"),
    [
        (lambda runs: Outcome(runs[1:], runs[:1], [], [], None), 1, "1 of 4 runs failed: catch-"),
        (
            lambda runs: Outcome(runs[:3], [], runs[3:], [], 2),
            130,
            "SIGINT: 3 of 4 runs are finished",
        ),
        (
            lambda runs: Outcome(runs[:3], [], runs[3:], [], 15),
            75,
            "Continue with: ez ablate --study mine",
        ),
    ],
)
def test_how_it_ends_is_said(ez, monkeypatch, outcome, code, says):
    import signal

    def end(scheduler):
        found = outcome(list(scheduler.runs))
        number = found.stopped_by
        return found._replace(stopped_by=None if number is None else signal.Signals(number))

    monkeypatch.setattr(Scheduler, "run", end)
    found, out, _ = ez(*ABLATE, "--quiet")
    assert (found, says in squeezed(out)) == (code, True)


def test_where_a_study_is_sent_is_written_before_anything_is(ez, monkeypatch, tmp_path):
    def fail(scheduler):
        raise RunError("EZ-SLURM-REFUSED", "the queue is out of order")

    monkeypatch.setattr(Scheduler, "run", fail)
    assert ez(*ABLATE, "--quiet")[0] == 1
    check(ez.error, "EZ-SLURM-REFUSED")
    saved = tmp_path / "runs" / "studies" / "mine" / "launcher.toml"
    assert 'launcher = "local"' in saved.read_text()


@pytest.mark.slow
def test_the_start_of_the_name_of_a_study_is_enough(ez):
    ez(*ABLATE)
    for command in (
        ["study", "status", "mi"],
        ["study", "cancel", "mi"],
        ["ablate", "--study", "mi"],
    ):
        code, out, _ = ez(*command)
        assert (code, "mine" in out) == (0, True), command
    assert ez("study", "status", "my")[0] == 2
    check(ez.error, "EZ-UNKNOWN-STUDY", "'my'", "Available: mine")
    ez(*("minor" if part == "mine" else part for part in ABLATE))
    for command in (
        ["study", "status", "mi"],
        ["study", "cancel", "mi"],
        ["ablate", "--study", "mi"],
    ):
        assert ez(*command)[0] == 2
        check(ez.error, "EZ-RUN-AMBIGUOUS", "'mi'", "mine, minor")
    assert ez("study", "status", "mine")[0] == 0


def test_status_tells_what_is_missing(ez, tmp_path, monkeypatch):
    monkeypatch.setattr(
        Scheduler, "run", lambda scheduler: Outcome([], [], list(scheduler.runs), [], None)
    )
    assert "Start one: ez ablate --drop value-prefix" in squeezed(ez("study", "status")[1])
    ez(*ABLATE, "--quiet")
    plan = json.loads(ez(*ABLATE, "--json")[1])
    one = plan["runs"][0]
    run(tmp_path / "runs" / one["name"], tiny())
    code, out, _ = ez("study", "status", "mine")
    assert code == 0
    assert "Study mine: 1 of 4 runs are finished." in out
    assert "Continue with: ez ablate --study mine" in out
    listed = json.loads(ez("study", "status", "mine", "--json")[1])["runs"]
    assert [r["state"] for r in listed] == ["finished", "new", "new", "new"]
    assert [r["arms"] for r in listed] == [["full"], ["value-prefix"]] * 2
    assert "− value prefix catch 1 new" in squeezed(out)
    assert listed[0]["train_steps"] > 0
    assert "mine − value prefix 4 1" in squeezed(ez("study", "status")[1])
    assert json.loads(ez("study", "status", "--json")[1]) == [
        {"study": "mine", "arms": "value-prefix", "runs": 4, "finished": 1}
    ]


@pytest.mark.slow
def test_a_study_of_real_runs(tmp_path):
    """Nothing is replaced: two arms, trained by the command that a user types, twice."""
    command = [sys.executable, "-m", "ezcli", *ABLATE, "--runs-dir", str(tmp_path), "--jobs", "2"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Done: all 4 runs of the study mine are finished." in first.stdout
    assert "catch: scores\narm" in first.stdout
    assert "\n− value prefix" in first.stdout
    assert f"ez report mine --output report.html --runs-dir {tmp_path}" in first.stdout
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "All runs are finished." in second.stdout
    folders = [RunFolder(path.parent) for path in tmp_path.glob("*/config.toml")]
    assert len(folders) == 4
    assert all(len(folder.read_info()["sessions"]) == 1 for folder in folders)


@pytest.mark.slow
def test_what_another_process_works_on_is_left_as_it_is(ez, tmp_path):
    """Neither the arms nor the seeds of a second command get into its study."""
    assert ez(*ABLATE, "--quiet")[0] == 0
    folder = StudyFolder(tmp_path / "runs", "mine")
    before = (folder.path / "study.json").read_bytes()
    with folder.lock():
        assert ez(*ABLATE, "--drop", "consistency", "--seeds", "5")[0] == 3
        check(ez.error, "EZ-STUDY-BUSY", "'mine'")
        assert ez(*ABLATE, "--dry-run")[0] == 0
    assert (folder.path / "study.json").read_bytes() == before


def test_one_output_at_a_time(ez, tmp_path):
    code, out, err = ez(*ABLATE, "--print-commands", "--dry-run")
    assert (code, out, "--print-commands" in err) == (2, "", True)
    code, out, _ = ez(*ABLATE, "--print-commands", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (2, "EZ-OPTION-CONFLICT")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_as_json_is_a_dry_run(ez, tmp_path):
    plan = ez(*ABLATE, "--dry-run", "--json")[1]
    assert len(json.loads(plan)["runs"]) == 4
    assert list(tmp_path.iterdir()) == []


def test_one_of_a_thing_is_not_called_many(ez):
    _, out, _ = ez("ablate", "--seeds", "1", *SMALL, "--dry-run")
    assert "Study mine: 1 arm x 1 seed, 1 run." in squeezed(out)


def test_a_launch_that_is_refused_leaves_no_study(ez, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert ez(*ABLATE, "--launcher", "slurm")[0] == 2
    assert ez.error.code.startswith("EZ-SLURM-NO")
    assert not (tmp_path / "runs" / "studies" / "mine" / "study.json").exists()


def sent_away(tmp_path, **entries):
    """The study's first run was handed over to a cluster that is not here."""
    folder = StudyFolder(tmp_path / "runs", "mine")
    run = folder.record().cells[0].run
    folder.jobs.mkdir(exist_ok=True)
    line = {"run": run, "job": "17_0", "submitted": "then"} | entries
    with (folder.jobs / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps(line) + "\n")


def test_a_study_from_a_cluster_goes_on_here_once_all_is_collected(ez, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert ez(*ABLATE, "--quiet")[0] == 0
    sent_away(tmp_path)
    assert ez(*ABLATE, "--seeds", "3", "--quiet")[0] == 3
    check(ez.error, "EZ-STUDY-QUEUED", "'mine'")
    sent_away(tmp_path, collected=True)
    assert ez(*ABLATE, "--seeds", "3", "--quiet")[0] == 0


def test_what_a_run_says_itself_counts_before_a_job_that_has_ended(ez, tmp_path, monkeypatch):
    assert ez(*ABLATE, "--quiet")[0] == 0
    folder = StudyFolder(tmp_path / "runs", "mine")
    run = RunFolder(folder.runs_dir / folder.record().cells[0].run)
    run.update_info(status="running")

    def told(said):
        monkeypatch.setattr(studies, "jobs_of", lambda _: {run.name: (said, "17_0")})
        rows = json.loads(ez("study", "status", "mine", "--json")[1])["runs"]
        return [(row["state"], row["job"]) for row in rows if row["run"] == run.name]

    with run.lock():
        assert told("out of memory") == [("running", None)]
        (run.path / "stalled.txt").touch()
        assert told("running") == [("stalled", "17_0")]
    assert told("out of memory") == [("out of memory", "17_0")]


@pytest.mark.parametrize(
    ("games", "tables"),
    [
        (("pong",), ["Minus the full agent: human-normalised", "pong: scores"]),
        (("pong", "qbert"), ["Human-normalised over 2 of 26 games", "Minus the full agent:"]),
        (("tetris", "et"), ["full: 2 games", "− value prefix: 2 games"]),
    ],
)
def test_a_finished_study_ends_with_its_result(ez, tmp_path, games, tables):
    write_study(tmp_path / "runs", noisy({}), games=games)
    code, out, err = ez("ablate", "--study", "mine")
    assert (code, err) == (0, "")
    _, _, result = out.partition("Done: all ")
    starts = [result.index(table) for table in tables]
    assert starts == sorted(starts)
    assert "− value prefix" in result
    assert "P(better)" not in result
    assert result.endswith("All tables and plots: ez report mine --output report.html\n")


def test_a_damaged_run_is_said_where_the_result_would_be(ez, tmp_path):
    write_study(tmp_path / "runs", noisy({}), games=("pong",))
    for path in (tmp_path / "runs").glob("pong-*/evaluations.jsonl"):
        path.write_text("")
    code, out, _ = ez("ablate", "--study", "mine")
    assert code == 0
    assert "it has no final evaluation" in squeezed(out)
    assert "All tables and plots: ez report mine" in out
