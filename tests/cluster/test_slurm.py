"""Studies on a real SLURM: what is cut short there goes on, and its cause is told.

Every run plays a game that waits where a test wants to cut it short; what is learnt does not depend
on when that is, so that the results can be compared with those of a run that nobody cut short.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.experiments.launchers.slurm import SlurmLauncher
from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder, read_lines
from tests.cluster.slurm import wait_for
from tests.runs.helpers import TINY, outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
GAME = """
import time
from pathlib import Path

import numpy as np

from ezcli.envs.protocol import EnvSpec, Step

HERE = Path(__file__).parent


class Waiting:
    spec = EnvSpec((1, 1, 8), ("left", "right"), {"name": "waiting"})

    def __init__(self, settings, evaluation):
        self.evaluation = evaluation

    def reset(self, seed):
        self.at, self.steps = seed % 4, 0
        return self.frame()

    def step(self, action):
        if not self.evaluation and not (HERE / "release").exists():
            time.sleep(2.5 if (HERE / "slow").exists() else 0.25)
        while (HERE / "hang").exists():
            time.sleep(0.25)
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


def is_learning(here):
    """Whether both runs have saved something."""
    saved = here.glob("runs/*/checkpoints/step-*/manifest.json")
    return len({manifest.parents[2] for manifest in saved}) == 2


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


def test_a_study_comes_out_as_it_does_here(ez, here, undisturbed):
    code, out, err = ez(*TWO, *WHERE)
    assert code == 0, out + err
    assert len(re.findall(r": started as job \d+_[01]\.", out)) == 2
    assert "2 of 2 runs are under way. See how they stand: ez study status s" in out
    wait_for(lambda: states(ez) == ["running"] * 2)
    out = finish(ez, here)  # which takes up the jobs that are there
    assert "running already." in out
    assert results(here / "runs") == undisturbed
    assert attempts(here) == [("exit code 0", "finished")] * 2
    assert states(ez) == ["finished"] * 2
    (info,) = (RunFolder(here / "runs" / name).read_info() for name in list(undisturbed)[:1])
    assert len(info["sessions"]) == 1


def test_cancelled_jobs_save_and_the_same_command_goes_on(ez, here, undisturbed):
    ez(*TWO, *WHERE)
    wait_for(lambda: is_learning(here))
    assert "Cancelled 2 runs" in ez("study", "cancel", "s")[1]
    here_no_more = ez("study", "cancel", "s")
    assert here_no_more[0] == 0, here_no_more
    wait_for(lambda: states(ez) == ["cancelled"] * 2)
    said = [RunFolder(p.parent).read_info()["status"] for p in here.glob("runs/*/run.json")]
    assert set(said) <= {"interrupted", "finished"}  # one may have been about to end
    out = finish(ez, here)
    assert out.count("cancelled; going on.") == 2
    assert results(here / "runs") == undisturbed
    assert attempts(here) == [("cancelled", "stopped")] * 2 + [("exit code 0", "finished")] * 2


@pytest.mark.parametrize("name", ["USR2", "USR1"])
def test_before_its_time_is_up_a_job_saves_and_queues_again(ez, here, at_slurm, undisturbed, name):
    """USR2 is what the end of the time limit sends; a user may send the other."""
    ez(*TWO, *WHERE)
    wait_for(lambda: is_learning(here))
    jobs = [line.split()[0] for line in at_slurm.queue()]
    at_slurm.ask("scancel", f"--signal={name}", *jobs)
    at_slurm.hurry(jobs)
    finish(ez, here)
    assert results(here / "runs") == undisturbed
    assert_both_saved_and_went_on(here)


def test_the_controller_may_forget_one_task_of_an_array_that_runs(ez, here, at_slurm, undisturbed):
    ez(*TWO, *WHERE)
    wait_for(lambda: is_learning(here))
    jobs = sorted(line.split()[0] for line in at_slurm.queue())
    with at_slurm.short_memory():
        at_slurm.ask("scancel", jobs[0])
        wait_for(lambda: len(at_slurm.queue()) == 1)
        (here / "hang").touch()
        wait_for(lambda: "not found" in at_slurm.ask("scontrol", "show", "job", jobs[0]), 150)
        assert states(ez) == ["stopped, and saved", "running"]
        assert "Cancelled 1 run;" in ez("study", "cancel", "s")[1]
        (here / "hang").unlink()
    finish(ez, here)
    assert results(here / "runs") == undisturbed


def test_no_more_is_handed_over_than_the_cluster_takes(ez, here, at_slurm):
    (here / "mine.toml").write_text("launcher = 'slurm'\n[slurm]\nmax_submitted = 1\n")
    code, out, err = ez(*TWO, *WHERE[2:], "--cluster", "mine.toml")
    assert code == 0, out + err
    assert "1 of 2 runs are under way, 1 wait for room" in out
    assert len(at_slurm.queue()) == 1
    (here / "release").touch()
    code, out, err = ez(*TWO, *WHERE[2:], "--cluster", "mine.toml", "--wait")
    assert code == 0, out + err
    assert states(ez) == ["finished"] * 2


def start_for_two_minutes(ez, here, save_seconds):
    limits = f"time = '2'\nsave_seconds = {save_seconds}\n"
    (here / "mine.toml").write_text(f"launcher = 'slurm'\n[slurm]\n{limits}")
    ez(*TWO, *WHERE[2:-2], "--cluster", "mine.toml")
    wait_for(lambda: states(ez) == ["running"] * 2)


def test_a_time_limit_is_met_by_saving_in_time(ez, here, at_slurm, undisturbed):
    (here / "slow").touch()
    start_for_two_minutes(ez, here, save_seconds=45)
    jobs = [line.split()[0] for line in at_slurm.queue()]
    at_slurm.hurry(jobs, seconds=240)  # once SLURM has signalled and they have saved
    finish(ez, here)
    assert results(here / "runs") == undisturbed
    assert_both_saved_and_went_on(here)


def test_a_run_that_hangs_at_its_time_limit_goes_on(ez, here, undisturbed):
    start_for_two_minutes(ez, here, save_seconds=20)
    wait_for(lambda: is_learning(here))
    (here / "hang").touch()
    wait_for(lambda: states(ez) == ["timed out"] * 2, seconds=300)
    (here / "hang").unlink()
    assert finish(ez, here).count("timed out; going on.") == 2
    assert results(here / "runs") == undisturbed
    assert went_on(here)


def test_a_node_that_fails_costs_no_more_than_the_time_since_the_last_save(
    ez, here, at_slurm, undisturbed
):
    ez(*TWO, *WHERE)
    wait_for(lambda: is_learning(here))
    jobs = [line.split()[0] for line in at_slurm.queue()]
    node = at_slurm.node(jobs[0])
    at_slurm.fail_node(node)
    try:
        at_slurm.hurry([job for job in jobs if at_slurm.node(job) in ("", node)])
        finish(ez, here)
    finally:
        at_slurm.start_node(node)
    assert results(here / "runs") == undisturbed
    assert went_on(here)


def test_a_run_that_asks_for_too_little_memory_is_told_so(ez, here):
    (here / "release").touch()
    code, out, _ = ez(*TWO, *WHERE, "--memory", "60M", "--wait")
    assert code == 1, out
    assert "out of memory; ask for more with --memory" in out
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
    assert out.count("exit code 1; trying once more.") == 2
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
    assert "its jobs go on. Go on with: ez ablate --study s" in out
    assert len(at_slurm.queue()) == 2


def test_what_slurm_refuses_is_a_sentence(ez, here):
    code, _, err = ez(*TWO, *WHERE, "--partition", "nowhere")
    assert code == 1
    assert "SLURM did not take the jobs: " in err
    assert "invalid partition specified: nowhere" in err
    assert states(ez) == ["new"] * 2


def test_one_run_is_sent_away_and_goes_on(ez, here, at_slurm, undisturbed):
    """The full agent of `TWO`, by itself."""
    options = "gpus = '0'\ncpus = 1\nmemory = '1500M'\ntime = '30'\n"
    (here / "mine.toml").write_text(f"launcher = 'slurm'\n[slurm]\n{options}")
    train = ["train", *STUDY[1:5], "--name", "one", *SETS, "--cluster", "mine.toml"]
    code, out, err = ez(*train)
    assert (code, err) == (0, "")
    assert re.search(r"^one: submitted as job \d+\. See how far it is: ez runs$", out, re.MULTILINE)
    assert "one is " in ez(*train)[1]
    wait_for(lambda: list(here.glob("runs/one/checkpoints/step-*/manifest.json")))
    assert ez(*train)[:2] == (0, "one is running already. See how far it is: ez runs\n")
    at_slurm.ask("scancel", "-u", "root")
    at_slurm.wait_empty()
    assert RunFolder(here / "runs" / "one").read_info()["status"] == "interrupted"
    (here / "release").touch()
    assert "Its last job: cancelled. Stopped by SIGTERM and saved." in ez(*train)[1]
    at_slurm.wait_empty()
    assert ez(*train)[1] == "one is finished already.\n"
    (full,) = (found for name, found in undisturbed.items() if "-full-" in name)
    assert outcome(RunFolder(here / "runs" / "one")) == full


def test_what_a_cluster_cannot_do_for_one_run_is_refused(ez, here):
    train = ["train", *STUDY[1:5], *SETS, "--launcher", "slurm"]
    code, _, err = ez(*train, "--wandb", "offline")
    assert code == 2
    assert "--wandb means nothing to the launcher slurm" in err
