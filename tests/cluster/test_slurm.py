"""Studies on a real SLURM: interrupted runs continue, and the cause is reported.

Every run plays a game that holds where a test may cut it short, until it is released or its run is
told to stop; what is learnt does not depend on that, so that the results can be compared with those
of a run that nobody cut short.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.experiments.launchers.slurm.launcher import SlurmLauncher
from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_lines
from tests.failing import check
from tests.runs.helpers import TINY, outcome
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
GAME = """
import os
import signal
import time
from pathlib import Path

import numpy as np

from ezcli.envs.protocol import EnvSpec, Step

HERE = Path(__file__).parent
DEADLINE = time.monotonic() + 1500  # a run whose test has failed ends as well


def is_told_to_stop():
    # ezcli.runs.train.StopRequest: then a second Ctrl-C ends the process
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Waiting:
    spec = EnvSpec((1, 1, 8), ("left", "right"), {"name": "waiting"})

    def __init__(self, settings, evaluation):
        self.evaluation, self.played = evaluation, 0

    def holds(self):
        # 12 steps of both games are 3 cycles; who goes on from there would else reach the end
        is_far = self.played > 12 or self.evaluation
        is_free = (HERE / "release").exists() or is_told_to_stop()
        return (HERE / "hang").exists() or (is_far and not is_free)

    def reset(self, seed):
        self.at, self.steps = seed % 4, 0
        return self.frame()

    def step(self, action):
        self.played += 1
        while self.holds():
            (HERE / f"held-{os.getpid()}").touch()
            assert time.monotonic() < DEADLINE
            time.sleep(0.05)
        self.at = min(7, max(0, self.at + (-1, 1)[action]))
        self.steps += 1
        over = self.at == 7 or self.steps == 9
        return Step(self.frame(), float(self.at == 7), over, over)

    def frame(self):
        frame = np.zeros((1, 1, 8), np.uint8)
        frame[0, 0, self.at] = 255
        return frame
"""
SETTINGS = (*TINY, "record.checkpoint_minutes=0")
SETS = [part for setting in SETTINGS for part in ("--set", setting)]
STUDY = ["ablate", "--env", "game.py:Waiting", "--preset", "smoke", "--study", "s", *SETS]
WHERE = ["--launcher", "slurm", "--gpus", "0", "--cpus", "1", "--memory", "1500M", "--time", "30"]
TWO = [*STUDY, "--drop", "value-prefix", "--seeds", "1"]


@pytest.fixture
def here(at_slurm, monkeypatch, tmp_path):
    """A folder with the game in it, which the nodes share with us."""
    (tmp_path / "game.py").write_text(GAME)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Asks the queue more often than one should."""
    monkeypatch.setattr(SlurmLauncher, "poll_seconds", 0.5)


def trained_alone(folder, command):
    """The runs folder, where this machine trained by itself what a command of `ez` says."""
    (folder / "game.py").write_text(GAME)
    (folder / "release").touch()
    command = [sys.executable, "-m", "ezcli", *command, "--quiet"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    return folder / "runs"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Outcomes of the two runs of `TWO` that nobody cut short."""
    return results(trained_alone(tmp_path_factory.mktemp("alone"), TWO))


def results(runs_dir):
    runs = [RunFolder(path.parent) for path in sorted(runs_dir.glob("*/config.toml"))]
    return {run.name: outcome(run) for run in runs}


def states(ez):
    rows = json.loads(ez("study", "status", "s", "--json")[1])["runs"]
    return [row["state"] for row in rows]


def are_held(here, runs=2):
    """Whether so many runs have saved something, write nothing and cannot end by themselves."""
    return len(list(here.glob("held-*"))) >= runs


def went_on(here):
    """Whether some run has two sessions, and every second one began where the first had saved."""
    runs = [RunFolder(path.parent) for path in here.glob("runs/*/run.json")]
    later = [run.sessions()[1]["env_steps"] for run in runs if len(run.sessions()) > 1]
    return bool(later) and min(later) > 0


def attempts(here):
    lines = read_lines(StudyFolder(here / "runs", "s").attempts)
    return sorted((line["cause"], line["result"]) for line in lines)


def assert_both_saved_and_went_on(here):
    """Both were stopped once, not killed, and lost nothing."""
    # SLURM may fail to start a job anew on a busy machine; then it is sent once more.
    causes = set(attempts(here))
    assert ("exit code 0", "finished") in causes
    assert causes <= {("exit code 0", "finished"), ("stopped, and saved", "stopped")}
    sessions = [RunFolder(p.parent).sessions() for p in here.glob("runs/*/run.json")]
    assert [len(of_run) for of_run in sessions] == [2, 2]
    assert went_on(here)


def finish(ez, here):
    """Lets every run go on to its end, by the same command."""
    (here / "release").touch()
    code, out, err = ez(*TWO, *WHERE, "--wait")
    assert code == 0, out + err
    return out


def test_a_study_comes_out_as_it_does_here(ez, here, monkeypatch, undisturbed):
    code, out, err = ez(*TWO, *WHERE)
    assert code == 0, out + err
    assert len(re.findall(r": started as job \d+_[01]\.", out)) == 2
    assert "2 of 2 runs are in progress. See their state: ez study status s" in out
    wait_for(lambda: states(ez) == ["running"] * 2)
    ask, looks = SlurmLauncher.states, []

    def asked(launcher):
        found = ask(launcher)
        looks.append(found)
        if len(looks) == 2:  # the first is that of a command that takes up what is there
            (here / "release").touch()
        return found

    monkeypatch.setattr(SlurmLauncher, "states", asked)
    code, out, err = ez(*TWO, *WHERE, "--wait")
    assert code == 0, out + err
    assert out.count("already running.") == 2
    assert results(here / "runs") == undisturbed
    assert attempts(here) == [("exit code 0", "finished")] * 2
    assert states(ez) == ["finished"] * 2
    (info,) = (RunFolder(here / "runs" / name).read_info() for name in list(undisturbed)[:1])
    assert len(info["sessions"]) == 1


def test_cancelled_jobs_save_and_the_same_command_goes_on(ez, here, undisturbed):
    ez(*TWO, *WHERE)
    wait_for(lambda: are_held(here))
    assert "Cancelled 2 runs" in ez("study", "cancel", "s")[1]
    code, out, err = ez("study", "cancel", "s")
    assert code == 0 or ez.error.code == "EZ-STUDY-NOT-CANCELLED", out + err
    wait_for(lambda: states(ez) == ["cancelled"] * 2)
    said = [RunFolder(p.parent).read_info()["status"] for p in here.glob("runs/*/run.json")]
    assert said == ["interrupted"] * 2
    out = finish(ez, here)
    assert out.count("cancelled; continuing.") == 2
    assert results(here / "runs") == undisturbed
    assert attempts(here) == [("cancelled", "stopped")] * 2 + [("exit code 0", "finished")] * 2


def let_save(here, jobs):
    """Ends the hanging when the jobs know of the signal, which SLURM sends to their runs as well.

    A job whose run had ended before would not queue again.
    """
    logs = [here / "runs" / "studies" / "s" / "jobs" / f"{job}_0_log.err" for job in jobs]
    wait_for(lambda: all("Caught signal" in log.read_text() for log in logs))
    (here / "hang").unlink()


@pytest.mark.parametrize("name", ["USR2", "USR1"])
def test_before_its_time_is_up_a_job_saves_and_queues_again(ez, here, at_slurm, undisturbed, name):
    """USR2 is what the end of the time limit sends; a user may send the other."""
    ez(*TWO, *WHERE)
    wait_for(lambda: are_held(here))
    jobs = [line.split()[0] for line in at_slurm.queue()]
    (here / "hang").touch()
    at_slurm.ask("scancel", f"--signal={name}", *jobs)
    let_save(here, jobs)
    at_slurm.hurry(jobs)
    finish(ez, here)
    assert results(here / "runs") == undisturbed
    assert_both_saved_and_went_on(here)


def test_the_controller_may_forget_one_task_of_an_array_that_runs(ez, here, at_slurm, undisturbed):
    ez(*TWO, *WHERE)
    wait_for(lambda: are_held(here))
    jobs = sorted(line.split()[0] for line in at_slurm.queue())
    with at_slurm.changed("MinJobAge", 2):
        at_slurm.ask("scancel", jobs[0])
        wait_for(lambda: "not found" in at_slurm.ask("scontrol", "show", "job", jobs[0]))
        # SLURM and the job both tell the run; the second may come when it has saved already.
        first, second = states(ez)
        assert first in ("stopped, and saved", "stopped early")
        assert second == "running"
        assert "Cancelled 1 run." in ez("study", "cancel", "s")[1]
    finish(ez, here)
    assert results(here / "runs") == undisturbed


def test_no_more_is_handed_over_than_the_cluster_takes(ez, here, at_slurm):
    (here / "mine.toml").write_text("launcher = 'slurm'\n[slurm]\nmax_submitted = 1\n")
    code, out, err = ez(*TWO, *WHERE[2:], "--cluster", "mine.toml")
    assert code == 0, out + err
    assert "1 of 2 runs are in progress, 1 wait for free places" in out
    assert len(at_slurm.queue()) == 1
    (here / "release").touch()
    code, out, err = ez(*TWO, *WHERE[2:], "--cluster", "mine.toml", "--wait")
    assert code == 0, out + err
    assert states(ez) == ["finished"] * 2


def start_for_five_minutes(ez, here, at_slurm):
    """The jobs of two runs that are held; they have longer, until a test says less."""
    limits = "time = '5'\nsave_seconds = 120\n"
    (here / "mine.toml").write_text(f"launcher = 'slurm'\n[slurm]\n{limits}")
    with at_slurm.closed():
        ez(*TWO, *WHERE[2:-2], "--cluster", "mine.toml")
        jobs = [line.split()[0] for line in at_slurm.queue()]
        at_slurm.limit(jobs, 30)
    wait_for(lambda: are_held(here))
    return jobs


def test_a_time_limit_is_met_by_saving_in_time(ez, here, at_slurm, undisturbed):
    jobs = start_for_five_minutes(ez, here, at_slurm)
    (here / "hang").touch()
    at_slurm.limit(jobs, 5)
    let_save(here, jobs)
    at_slurm.hurry(jobs)
    at_slurm.limit(jobs, 30)
    finish(ez, here)
    assert results(here / "runs") == undisturbed
    assert_both_saved_and_went_on(here)


def test_a_run_that_hangs_at_its_time_limit_goes_on(ez, here, at_slurm, undisturbed):
    jobs = start_for_five_minutes(ez, here, at_slurm)
    (here / "hang").touch()
    with at_slurm.changed("KillWait", 5):
        at_slurm.limit(jobs, 1)
        wait_for(lambda: states(ez) == ["timed out"] * 2)
    (here / "hang").unlink()
    assert finish(ez, here).count("timed out; continuing.") == 2
    assert results(here / "runs") == undisturbed
    assert went_on(here)


def test_a_node_that_fails_costs_no_more_than_the_time_since_the_last_save(
    ez, here, at_slurm, undisturbed
):
    ez(*TWO, *WHERE)
    wait_for(lambda: are_held(here))
    jobs = [line.split()[0] for line in at_slurm.queue()]
    node = at_slurm.node(jobs[0])
    own = [job for job in jobs if at_slurm.node(job) == node]
    try:
        at_slurm.fail_node(node)
        at_slurm.hurry(own)
        finish(ez, here)
    finally:
        at_slurm.start_node(node)
    assert results(here / "runs") == undisturbed
    assert went_on(here)


def test_a_run_that_asks_for_too_little_memory_is_told_so(ez, here):
    code, out, _ = ez(*TWO, *WHERE, "--memory", "60M", "--wait")
    assert code == 1, out
    assert "out of memory; request more with --memory" in out
    finish(ez, here)


def test_runs_share_a_job(ez, here, at_slurm, undisturbed):
    ez(*TWO, *WHERE, "--runs-per-gpu", "2")
    wait_for(lambda: states(ez) == ["running"] * 2)
    assert len(at_slurm.queue()) == 1
    finish(ez, here)
    assert results(here / "runs") == undisturbed


def test_a_run_that_fails_is_tried_once_more_and_told(ez, here):
    (here / "game.py").write_text(GAME.replace("np.uint8)", "np.float32)"))
    code, out, _ = ez(*TWO, *WHERE, "--wait")
    assert code == 1
    assert out.count("exit code 1; trying again.") == 2
    assert out.count("failed (exit code 1).") == 2
    assert "returned a frame of float32" in out
    assert "2 of 2 runs failed" in out


def test_ctrl_c_leaves_the_jobs_alone(ez, here, at_slurm, monkeypatch):
    ez(*TWO, *WHERE)
    ask = SlurmLauncher.states

    def asked(launcher):
        signal.raise_signal(signal.SIGINT)
        return ask(launcher)

    monkeypatch.setattr(SlurmLauncher, "states", asked)
    code, out, _ = ez(*TWO, *WHERE, "--wait")
    assert code == 130
    assert "its jobs keep running. Continue with: ez ablate --study s" in out
    assert len(at_slurm.queue()) == 2


def test_what_slurm_refuses_is_a_sentence(ez, here):
    assert ez(*TWO, *WHERE, "--partition", "nowhere")[0] == 1
    check(ez.error, "EZ-SLURM-REFUSED", "nowhere")
    assert states(ez) == ["new"] * 2


def test_one_run_is_sent_away_and_goes_on(ez, here, at_slurm, undisturbed):
    """The full agent of `TWO`, by itself."""
    options = "gpus = '0'\ncpus = 1\nmemory = '1500M'\ntime = '30'\n"
    (here / "mine.toml").write_text(f"launcher = 'slurm'\n[slurm]\n{options}")
    train = [
        "train",
        *STUDY[1:5],
        "--name",
        "one",
        *SETS,
        "--cluster",
        "mine.toml",
        "--tensorboard",
    ]
    code, out, err = ez(*train)
    assert (code, err) == (0, "")
    assert re.search(
        r"^one: submitted as job \d+\. See its progress: ez runs show runs/one$", out, re.MULTILINE
    )
    assert "one is " in ez(*train)[1]
    wait_for(lambda: are_held(here, runs=1))
    assert ez(*train)[:2] == (
        0,
        "one is already running. See its progress: ez runs show runs/one\n",
    )
    at_slurm.ask("scancel", "-u", "root")
    at_slurm.wait_empty()
    assert RunFolder(here / "runs" / "one").read_info()["status"] == "interrupted"
    (here / "release").touch()
    assert "Its last job: cancelled. Stopped by SIGTERM and saved." in ez(*train)[1]
    at_slurm.wait_empty()
    assert ez(*train)[1] == "one is already finished.\n"
    (full,) = (found for name, found in undisturbed.items() if "-full-" in name)
    assert outcome(RunFolder(here / "runs" / "one")) == full
    assert list((here / "runs" / "one").rglob("events.out.tfevents*"))  # options travel with it
