"""Execution of a study: runs that are started, retried, awaited and left.

A stand-in trains; that real runs come out the same whatever happens is in `test_chaos.py`.
"""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ezcli.experiments import handover
from ezcli.experiments.launchers.local import LocalLauncher
from ezcli.experiments.launchers.protocol import Ending
from ezcli.experiments.schedule import Scheduler
from ezcli.runs.folder import RunFolder
from ezcli.runs.json_files import read_lines
from ezcli.runs.trackers.protocol import Tracking
from tests.experiments.helpers import make_study, noted, save
from tests.failing import fails
from tests.runs.helpers import tiny
from tests.waiting import wait_for

FAKE = (sys.executable, str(Path(__file__).parent / "fake_ez.py"))
ROOT = Path(__file__).parents[2]


class Listener:
    """A reporter that keeps what it is told and may act on it."""

    def __init__(self, on_progress=lambda progress: None):
        self.said, self.most, self.on_progress = [], 0, on_progress

    def say(self, text):
        self.said.append(text)

    def progress(self, progress):
        self.most = max(self.most, len(progress.active))
        self.on_progress(progress)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    monkeypatch.setattr(handover, "PROGRAM", FAKE)
    monkeypatch.setattr(LocalLauncher, "poll_seconds", 0.01)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def script(monkeypatch):
    """Says what the processes of runs do, by the run's place in the plan."""

    def write(saved, **actions):
        by_name = {saved.runs[int(k[1:])].name: done for k, done in actions.items()}
        monkeypatch.setenv("FAKE_EZ", json.dumps(by_name))

    return write


def go(saved, jobs=2, devices=(), listener=None, threads=3):
    launcher = LocalLauncher(jobs, devices)
    scheduler = Scheduler(saved.folder, saved.runs, launcher, threads, listener or Listener())
    with saved.folder.lock():
        return scheduler.run()


def started(saved):
    return [line["run"] for line in noted(saved.folder.runs_dir)]


def attempts(saved):
    return [(a["run"], a["result"], a["exit_code"]) for a in read_lines(saved.folder.attempts)]


def test_all_are_trained_in_order_and_noted(tmp_path):
    saved = save(tmp_path, make_study())
    listener = Listener()
    outcome = go(saved, jobs=1, listener=listener)
    assert started(saved) == [run.name for run in saved.runs]
    assert (outcome.finished, outcome.failed, outcome.left) == (saved.runs, [], [])
    assert outcome.exit_code == 0
    assert attempts(saved) == [(run.name, "finished", 0) for run in saved.runs]
    assert {line["threads"] for line in noted(tmp_path)} == {3}
    assert listener.most == 1


def test_only_what_is_about_to_start_has_a_folder(tmp_path):
    saved = save(tmp_path, make_study())
    queue = Queue([])
    queue.slots = 1
    with saved.folder.lock():
        Scheduler(saved.folder, saved.runs, queue, 1, Listener(), waits=False).run()
    assert queue.submitted == [saved.runs[0].name]
    (path,) = tmp_path.glob("*/config.toml")
    folder = RunFolder(path.parent)
    assert folder.config() == saved.runs[0].config
    assert folder.read_info()["preset"] == str(saved.folder.preset_file)


@pytest.mark.slow
def test_jobs_run_side_by_side_and_never_more(tmp_path, script):
    saved = save(tmp_path, make_study(seeds=(0, 1, 2)))
    script(saved, **{f"r{i}": ["slow"] for i in range(6)})

    def release(progress):
        if len(progress.active) == 3:
            (tmp_path / "release").touch()

    listener = Listener(release)
    assert go(saved, jobs=3, listener=listener).exit_code == 0
    assert listener.most == 3


@pytest.mark.slow
def test_nothing_is_trained_twice(tmp_path):
    saved = save(tmp_path, make_study())
    go(saved)
    again = go(saved)
    assert again.exit_code == 0
    assert len(started(saved)) == len(saved.runs) == len(again.finished)


@pytest.mark.slow
def test_a_failure_is_tried_once_more(tmp_path, script):
    saved = save(tmp_path, make_study())
    script(saved, r0=["fail"], r1=["crash"])
    listener = Listener()
    outcome = go(saved, listener=listener)
    assert outcome.exit_code == 0
    assert len(started(saved)) == 6
    assert (saved.runs[0].name, "failed", 1) in attempts(saved)
    assert (saved.runs[1].name, "failed", -9) in attempts(saved)
    assert any("exit code 1; trying again. the fan is on fire" in s for s in listener.said)
    assert any("killed by SIGKILL" in said for said in listener.said)


def test_a_run_that_fails_twice_is_left_and_the_others_go_on(tmp_path, script):
    saved = save(tmp_path, make_study())
    script(saved, r1=["fail", "fail", "fail"])
    outcome = go(saved, jobs=1)
    assert outcome.exit_code == 1
    assert outcome.failed == [saved.runs[1]]
    assert len(outcome.finished) == 3
    lines = read_lines(saved.folder.attempts)
    assert [x["last_lines"] for x in lines if x["result"] == "failed"] == [
        ["the fan is on fire"]
    ] * 2
    assert "the fan is on fire" in (saved.folder.logs / f"{saved.runs[1].name}.log").read_text()


@pytest.mark.slow
def test_the_same_command_tries_what_failed_again(tmp_path, script):
    saved = save(tmp_path, make_study())
    script(saved, r1=["fail", "fail", "ok"])
    assert go(saved).exit_code == 1
    assert go(saved).exit_code == 0
    assert started(saved).count(saved.runs[1].name) == 3


@pytest.mark.slow
def test_a_run_stopped_from_outside_goes_on(tmp_path, script):
    saved = save(tmp_path, make_study())
    script(saved, r2=["stop"])
    assert go(saved).exit_code == 0
    assert (saved.runs[2].name, "stopped", 75) in attempts(saved)


def test_an_exit_without_error_is_no_proof(tmp_path, monkeypatch):
    """A process that ends with 0 and leaves no finished run has failed."""
    saved = save(tmp_path, make_study(drops=(), seeds=(0,)))
    monkeypatch.setattr(handover, "PROGRAM", (sys.executable, "-c", "pass"))
    assert go(saved).exit_code == 1


@pytest.mark.slow
def test_devices_are_handed_out(tmp_path, script):
    saved = save(tmp_path, make_study())
    script(saved, r0=["slow"])

    def release(progress):
        if progress.finished == 3:
            (tmp_path / "release").touch()

    go(saved, devices=("cuda:0", "cuda:1"), listener=Listener(release))
    devices = {line["run"]: line["device"] for line in noted(tmp_path)}
    assert [devices[run.name] for run in saved.runs] == ["cuda:0"] + ["cuda:1"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_lets_the_runs_save(tmp_path, script, number, code):
    saved = save(tmp_path, make_study())
    script(saved, r0=["slow"], r1=["slow"])
    sent = []

    def stop(progress):
        if len(noted(tmp_path)) == 2 and not sent:
            sent.append(number)
            signal.raise_signal(number)

    before = signal.getsignal(number)
    listener = Listener(stop)
    outcome = go(saved, listener=listener)
    assert outcome.exit_code == code
    assert {run.name for run in outcome.left} == {run.name for run in saved.runs}
    assert sorted(attempts(saved)) == sorted((r.name, "stopped", 75) for r in saved.runs[:2])
    assert any("2 runs to be saved first" in said for said in listener.said)
    assert signal.getsignal(number) is before
    (tmp_path / "release").touch()
    assert go(saved).exit_code == 0


def test_a_second_signal_kills(tmp_path, script, monkeypatch):
    saved = save(tmp_path, make_study(drops=(), seeds=(0,)))
    stubborn = "import signal, time; signal.signal(15, 1); print('up', flush=True); time.sleep(60)"
    monkeypatch.setattr(handover, "PROGRAM", (sys.executable, "-c", stubborn))
    log = saved.folder.logs / f"{saved.runs[0].name}.log"
    sent = []

    def stop(progress):
        if len(sent) < 2 and log.is_file() and log.read_text().startswith("up"):
            sent.append(1)
            signal.raise_signal(signal.SIGINT)

    outcome = go(saved, listener=Listener(stop))
    assert outcome.exit_code == 130
    assert attempts(saved) == [(saved.runs[0].name, "stopped", -9)]


@pytest.mark.slow
def test_no_process_is_left_behind_by_a_defect_of_ours(tmp_path, script):
    saved = save(tmp_path, make_study())
    script(saved, r0=["slow"], r1=["slow"])

    def fail(progress):
        if len(noted(tmp_path)) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go(saved, listener=Listener(fail))
    assert not any(RunFolder(tmp_path / run.name).is_locked for run in saved.runs)


@pytest.mark.slow
def test_two_processes_on_one_study(tmp_path, script):
    """The second is refused while the first works, and nothing runs twice."""
    saved = save(tmp_path, make_study())
    script(saved, r0=["slow"])
    refused = []

    def second(progress):
        if noted(tmp_path) and not refused:
            with fails("EZ-STUDY-BUSY", "'mine'"):
                go(saved)
            refused.append(1)
            (tmp_path / "release").touch()

    assert go(saved, listener=Listener(second)).exit_code == 0
    assert refused
    assert sorted(started(saved)) == sorted(run.name for run in saved.runs)


@pytest.mark.slow
def test_a_run_that_another_study_trains_is_waited_for(tmp_path, script):
    one = save(tmp_path, make_study(seeds=(0,), name="one"))
    other = save(tmp_path, make_study(["consistency"], (0,), name="other"))
    script(one, r0=["slow"])
    outcomes = []
    listener = Listener(
        lambda progress: (tmp_path / "release").touch() if progress.elsewhere else None
    )

    def second():
        scheduler = Scheduler(other.folder, other.runs, LocalLauncher(2), 1, listener)
        scheduler._listening = no_signals  # those belong to the main thread
        outcomes.append(scheduler.run())

    def start_second(progress):
        if one.runs[0].name in started(one) and not threads:
            threads.append(threading.Thread(target=second))
            threads[0].start()

    threads = []
    assert go(one, listener=Listener(start_second)).exit_code == 0
    threads[0].join()
    assert outcomes[0].exit_code == 0
    assert sorted(started(one)) == sorted(
        {*(r.name for r in one.runs), *(r.name for r in other.runs)}
    )
    assert any("another process trains it" in said for said in listener.said)


def no_signals():
    from contextlib import nullcontext

    return nullcontext()


@pytest.mark.slow
def test_orphans_are_waited_for_and_count_as_jobs(tmp_path, script):
    """After a SIGKILL of the launcher its processes go on; the same command neither doubles them
    nor runs more than `jobs` beside them."""
    saved = save(tmp_path, make_study())
    script(saved, r0=["slow"])
    folder = RunFolder(tmp_path / saved.runs[0].name)
    handover.prepare(folder, saved.runs[0].config, {})
    orphan = subprocess.Popen([*FAKE, "resume", folder.path], start_new_session=True)
    try:
        wait_for(lambda: RunFolder(tmp_path / saved.runs[0].name).is_locked)
        together = []

        def watch(progress):
            together.append(len(progress.active) + len(progress.elsewhere))
            if progress.finished == 3:
                (tmp_path / "release").touch()

        assert go(saved, jobs=2, listener=Listener(watch)).exit_code == 0
        assert orphan.wait() == 0
        assert max(together) == 2
        assert started(saved).count(saved.runs[0].name) == 1
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.slow
def test_a_damaged_run_costs_one_cell(tmp_path):
    saved = save(tmp_path, make_study())
    path = tmp_path / saved.runs[0].name
    path.mkdir()
    (path / "config.toml").write_text("seed = ")
    outcome = go(saved)
    assert outcome.exit_code == 1
    assert outcome.failed == [saved.runs[0]]
    assert len(outcome.finished) == 3
    assert "not valid TOML" in attempts_text(saved)


def attempts_text(saved):
    return saved.folder.attempts.read_text()


@pytest.mark.slow
def test_another_config_under_a_runs_name_is_not_touched(tmp_path):
    saved = save(tmp_path, make_study())
    path = tmp_path / saved.runs[0].name
    RunFolder(path).create(tiny("catch", "value.discount=0.5"))
    before = (path / "config.toml").read_bytes()
    assert go(saved).failed == [saved.runs[0]]
    assert (path / "config.toml").read_bytes() == before
    assert "another config" in attempts_text(saved)


@pytest.mark.slow
def test_children_do_not_hold_the_studys_lock(tmp_path, script):
    """A launcher that is killed lets go of the study although its runs go on."""
    saved = save(tmp_path, make_study())
    script(saved, r0=["slow"], r1=["slow"])
    program = (
        "import sys; from pathlib import Path; from ezcli.experiments import handover, study\n"
        "from ezcli.experiments.launchers import local\n"
        "from ezcli.experiments.schedule import Scheduler\n"
        "from tests.experiments.test_schedule import FAKE, Listener\n"
        "handover.PROGRAM = FAKE\n"
        "folder = study.StudyFolder(Path(sys.argv[1]), 'mine')\n"
        "runs, launcher = study.plan(folder.study(), {}), local.LocalLauncher(2)\n"
        "with folder.lock():\n"
        "    Scheduler(folder, runs, launcher, 1, Listener()).run()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT)
    try:
        wait_for(lambda: len(noted(tmp_path)) == 2)
    finally:
        parent.kill()
        parent.wait()
    (tmp_path / "release").touch()
    assert go(saved).exit_code == 0
    assert sorted(started(saved)) == sorted(run.name for run in saved.runs)


class Queue:
    """A place whose jobs outlive us; one of them has just ended with its node."""

    outlives, poll_seconds, slots = True, 0.0, None

    def __init__(self, ended):
        self.known, self.submitted = {run.name: "ended" for run in ended}, []

    def submit(self, tasks):
        self.submitted += [task.run for task in tasks]
        self.known |= dict.fromkeys(self.submitted, "queued")
        return [""] * len(tasks)

    def states(self):
        return dict(self.known)

    def collect(self, run):
        del self.known[run]
        return Ending(None, "its node failed", "place", (), "then", 1.0, "node3")

    def close(self):
        pass


def test_what_died_with_its_node_is_handed_over_although_its_lock_is_fresh(tmp_path):
    """The next job waits until it is sure; a run that another process trains is left alone."""
    saved = save(tmp_path, make_study())
    for run in saved.runs[:2]:
        folder = tmp_path / run.name
        handover.prepare(RunFolder(folder), run.config, {})
        holder = {"host": "node3", "pid": 4711, "token": "x"}
        (folder / ".lock-holder").write_text(json.dumps(holder))
    queue = Queue(saved.runs[:1])
    with saved.folder.lock():
        outcome = Scheduler(saved.folder, saved.runs, queue, 1, Listener(), waits=False).run()
    others = [run.name for run in saved.runs[2:]]
    assert sorted(queue.submitted) == sorted([saved.runs[0].name, *others])
    assert saved.runs[1] in outcome.left


def test_a_launcher_that_was_taken_for_gone_hands_over_nothing(tmp_path):
    saved = save(tmp_path, make_study())
    queue = Queue([])
    scheduler = Scheduler(saved.folder, saved.runs, queue, 1, Listener(), waits=False)
    with saved.folder.lock():
        holder = {"host": "node3", "pid": 4711, "token": "x"}
        (saved.folder.path / ".lock-holder").write_text(json.dumps(holder))
        with fails("EZ-STUDY-TAKEN-OVER", "'mine'"):
            scheduler.run()
    assert queue.submitted == []


def test_trackers_are_told_the_study_and_the_arm(tmp_path):
    """wandb's group and type of job; the options are those of `ez resume`."""

    class Queue(LocalLauncher):
        outlives = True

        def submit(self, tasks):
            self.tasks = list(tasks)
            return ["" for _ in tasks]

    saved, queue = save(tmp_path, make_study(seeds=(0,))), Queue(9)
    asked = Tracking("offline", "lab/mine")
    Scheduler(saved.folder, saved.runs, queue, 1, Listener(), waits=False, tracking=asked).run()
    assert [task.options for task in queue.tasks] == [asked.options] * 2
    assert [dict(task.variables) for task in queue.tasks] == [
        {"WANDB_RUN_GROUP": "mine", "WANDB_JOB_TYPE": arm, "EZ_STUDY": "mine", "EZ_ARM": arm}
        for arm in ("full", "value-prefix")
    ]
