"""SLURM: the resources of a job, its body, and parsing of the output of SLURM's programs."""

import json
import os
import shlex
import signal
import sys
import time
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from ezcli.errors import EzError
from ezcli.experiments import handover
from ezcli.experiments.handover import PYTHON, Task
from ezcli.experiments.launchers.cluster import queue_of
from ezcli.experiments.launchers.slurm import job as slurm_job
from ezcli.experiments.launchers.slurm import launcher as slurm_launcher
from ezcli.experiments.launchers.slurm import programs as slurm_programs
from ezcli.experiments.launchers.slurm import submission
from ezcli.experiments.launchers.slurm.job import JobBody
from ezcli.experiments.launchers.slurm.launcher import SlurmLauncher
from ezcli.experiments.launchers.slurm.programs import JobRecord, ask, describe
from ezcli.experiments.launchers.slurm.settings import SlurmSettings, minutes_of
from ezcli.experiments.launchers.slurm.verdict import OUT_OF_MEMORY, UNKNOWN_JOB, verdict
from ezcli.runs.json_files import append_line
from tests.failing import fails


def test_a_job_of_slurm_is_isolated_from_the_current_folder(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    from submitit.slurm.slurm import SlurmExecutor

    commands = []

    def submit(executor, *_):
        commands.append(executor._submitit_command_str)
        raise EzError("EZ-SLURM-REFUSED", "seen")

    monkeypatch.setattr(SlurmExecutor, "submit", submit)
    monkeypatch.setattr(SlurmExecutor, "affinity", classmethod(lambda _: 1))
    with fails("EZ-SLURM-REFUSED", "seen"):
        submission.submit([JobBody([], tmp_path, tmp_path, 60.0)], tmp_path, SlurmSettings(), "ez")
    assert f"{shlex.join(PYTHON)} -u -m submitit" in commands[0]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:30", 91),
        ("12:00:00", 720),
        ("0:00:01", 1),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("2-00:00:00", 2880),
    ],
)
def test_times_are_read_as_sbatch_reads_them(text, minutes):
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "12h", "1-"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValidationError, match="is not a time for sbatch"):
        SlurmSettings(time=text)


@pytest.mark.parametrize(
    ("gpus", "asked"), [("1", "1"), ("a100:2", "a100:2"), ("0", None), ("a100:0", None)]
)
def test_gpus_are_asked_for_only_if_there_are_any(gpus, asked):
    settings = SlurmSettings(gpus=gpus)
    extra = submission.parameters(settings, 3, "ez")["additional_parameters"]
    assert extra.get("gpus-per-node") == asked
    assert settings.has_gpus is (asked is not None)


def test_the_sbatch_script_holds_what_was_asked_for(tmp_path):
    from submitit.slurm.slurm import _make_sbatch_string

    settings = SlurmSettings(
        partition="gpu",
        account="rl",
        constraint="a100|h100",
        memory="24G",
        time="1-00",
        cpus=8,
        parallel=2,
        setup=("module load cuda",),
        extra={"nice": "100"},
    )
    script = _make_sbatch_string(
        "run", tmp_path, map_count=9, **submission.parameters(settings, 9, "ez-1")
    )
    for line in (
        "#SBATCH --partition=gpu",
        "#SBATCH --account=rl",
        "#SBATCH --constraint='a100|h100'",
        "#SBATCH --mem=24G",
        "#SBATCH --time=1440",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --array=0-8%2",
        "#SBATCH --signal=USR2@120",
        "#SBATCH --requeue",
        "#SBATCH --nice=100",
        "module load cuda",
    ):
        assert line in script.splitlines()


@pytest.mark.parametrize(
    ("gpus", "runs_per_gpu", "threads"), [("0", 1, 8), ("0", 2, 4), ("1", 4, 2), ("a100:2", 2, 2)]
)
def test_cores_of_a_job_are_shared_by_its_runs(gpus, runs_per_gpu, threads):
    asked = {"gpus": gpus, "runs_per_gpu": runs_per_gpu, "cpus": 8}
    assert SlurmSettings(**asked).threads == threads


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Stand-ins for SLURM's programs, each printing what it is told or failing.

    A pair is an exit code and what goes to standard error, a triple has standard output besides.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_programs, "RETRY_SECONDS", 0.0)

    def write(**said):
        for name in (*slurm_programs.PROGRAMS, "sacct"):
            text = said.get(name)
            action = "exit 1" if text is None else f"cat <<'END'\n{text}\nEND"
            if isinstance(text, tuple):
                code, err, out = (*text, "")[:3]
                action = f"echo '{err}' >&2; echo '{out}'; exit {code}"
            (folder / name).write_text(f"#!/bin/sh\n{action}\n")
            (folder / name).chmod(0o755)

    write()
    return write


FOREVER = 1e9  # seconds
FORGOTTEN = (1, "slurm_load_jobs error: Invalid job id specified")


# As SLURM 22.05 with slurmdbd printed them, but for those of memory, preemption and the signal 53.
@pytest.mark.parametrize(
    ("rows", "cause", "fault"),
    [
        (["COMPLETED|0:0|n1"], "exit code 0", "run"),
        (["FAILED|1:0|n1"], "exit code 1", "run"),
        (["FAILED|0:9|n1"], "killed by SIGKILL", "run"),
        (["FAILED|0:53|n1"], "killed by signal 53", "run"),  # SLURM's own: no folder, no log
        (["FAILED|?|n1"], "failed", "run"),
        (["CANCELLED by 1000|0:0|n1"], "cancelled", "user"),
        (["NODE_FAIL|0:0|n1", "TIMEOUT|0:0|n2"], "timed out", "cluster"),  # requeued
        (["NODE_FAIL|1:0|n1"], "its node failed", "cluster"),
        (["PREEMPTED|0:15|n1"], "preempted", "cluster"),
        (["OUT_OF_MEMORY|0:125|n1"], "out of memory; request more with --memory", "run"),
        (["REQUEUED|0:0|n1", "FAILED|4:0|n1"], "exit code 4", "run"),
        (["REQUEUED|0:0|n1", "COMPLETED|0:0|n2"], "exit code 0", "run"),
        (["nonsense"], UNKNOWN_JOB, "cluster"),
    ],
)
def test_how_a_job_ended_is_read_from_the_accounts(programs, rows, cause, fault):
    programs(sacct="\n".join(f"17_3|ez|{row}" for row in rows), scontrol=FORGOTTEN)
    assert verdict(describe(["17_3"]).get("17_3"), None, ()) == (cause, fault)


def test_a_job_that_was_cancelled_in_the_queue_was_nowhere(programs):
    programs(sacct="17_3|ez|CANCELLED by 0|0:0|None assigned", scontrol=FORGOTTEN)
    assert describe(["17_3"]) == {"17_3": JobRecord("ez", "CANCELLED", 0, "")}


def shown(job, entries, name="ez"):
    """A line of `scontrol --oneliner show job`."""
    array, _, task = job.partition("_")
    names = f"ArrayJobId={array} ArrayTaskId={task} " if task else ""
    return f"JobId={array} {names}JobName={name} {entries} ReqNodeList=(null)"


def test_while_it_remembers_the_controller_is_believed(programs):
    said = "JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15 NodeList=n2"
    programs(scontrol=shown("17_3", said), sacct="17_3|ez|RUNNING|0:0|n2")
    assert describe(["17_3"]) == {"17_3": JobRecord("ez", "TIMEOUT", -15, "n2")}


def test_of_an_array_the_controller_may_have_forgotten_some_tasks(programs):
    """What it then prints of them goes to standard output (22.05)."""
    said = shown("17_1", "JobState=RUNNING ExitCode=0:0 NodeList=n2")
    programs(scontrol=said, sacct="17_0|ez|COMPLETED|0:0|n1")
    found = {job: described.state for job, described in describe(["17_0", "17_1"]).items()}
    assert found == {"17_0": "COMPLETED", "17_1": "RUNNING"}
    for forgotten in ((1, "", "Job 17 not found"), FORGOTTEN):
        programs(scontrol=forgotten, sacct=(1, "Slurm accounting storage is disabled"))
        assert describe(["17_0"]) == {}


@pytest.mark.parametrize("program", ["scontrol", "sacct"])
def test_a_program_that_does_not_answer_loses_no_job(programs, program):
    said = {"scontrol": FORGOTTEN, program: (1, "Unable to contact slurm controller")}
    programs(**said)
    with fails("EZ-SLURM-NO-ANSWER", f"`{program} ", "Unable to contact slurm controller"):
        describe(["17_3"])


def test_a_program_that_fails_once_is_asked_again(programs, monkeypatch):
    programs(scontrol=(1, "Unable to contact slurm controller"))

    def mended(seconds):
        assert seconds == 5
        programs(scontrol="here again")

    monkeypatch.setattr(slurm_programs, "RETRY_SECONDS", 60.0)
    monkeypatch.setattr(
        slurm_programs, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=mended)
    )
    assert ask(["scontrol", "ping"]) == "here again\n"


def test_a_node_that_kills_for_memory_says_so_in_the_log_only():
    said = ["slurmstepd: error: StepId=2.0 exceeded memory limit (6 > 5), being killed"]
    failed = JobRecord("ez", "FAILED", 137, "n1")
    assert verdict(failed, None, said) == (OUT_OF_MEMORY, "run")
    assert verdict(failed, note(exit_code=-9), said) == (OUT_OF_MEMORY, "run")
    assert verdict(JobRecord("ez", "FAILED", 1, "n1"), None, ["memory is fine"])[0] == (
        "exit code 1"
    )


def note(**entries):
    known = {"job": "17_0", "exit_code": 2, "started": "then", "seconds": 5.0, "last_lines": []}
    return slurm_job.ExitNote.model_validate(known | entries)


def test_a_run_that_saved_in_a_job_that_failed_is_no_failure():
    assert verdict(JobRecord("ez", "FAILED", 1, "n1"), note(exit_code=75), ()) == (
        "stopped, and saved",
        "cluster",
    )
    assert verdict(JobRecord("ez", "FAILED", 1, "n1"), note(exit_code=0), ()) == (
        "exit code 0",
        "run",
    )


@pytest.mark.parametrize("state", ["TIMEOUT", "NODE_FAIL", "CANCELLED", "FAILED"])
def test_a_run_that_failed_by_itself_does_not_share_the_fate_of_its_job(state):
    job = JobRecord("ez", state, 0, "n1")
    assert verdict(job, note(exit_code=2), ()) == ("exit code 2", "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_run_that_was_stopped_before_it_listened_is_no_failure(number):
    job = JobRecord("ez", "FAILED", 1, "n1")
    assert verdict(job, note(exit_code=-number), ()) == ("stopped early", "cluster")
    assert verdict(job, note(exit_code=-signal.SIGKILL), ())[1] == "run"


def test_a_run_that_got_no_further_in_its_time_is_not_tried_for_ever():
    stuck = note(exit_code=75, advanced=False)
    assert verdict(JobRecord("ez", "FAILED", 1, "n1"), stuck, ()) == (
        slurm_job.TOO_LITTLE_TIME,
        "run",
    )


@pytest.fixture
def body(tmp_path, monkeypatch):
    """A job in the middle of training one run, beside one that is finished and one that failed."""
    pytest.importorskip("submitit")
    saving = "import time, signal; signal.signal(15, lambda *_: exit(75)); print(1, flush=True); "
    programs = {"a": f"{saving} time.sleep(3600)", "b": "", "c": "exit(1)"}
    (tmp_path / "logs").mkdir()
    tasks = [Task(run, tmp_path / run, tmp_path / "logs" / f"{run}.log", 1) for run in programs]
    found = JobBody(tasks, tmp_path, tmp_path, 60.0)
    for task in tasks:
        (task.folder / "checkpoints" / "step-1").mkdir(parents=True)
        found.saved[task.run] = slurm_job.checkpoints(task.folder)
        monkeypatch.setattr(handover, "PROGRAM", (sys.executable, "-c", programs[task.run]))
        found.children[task.run] = handover.start_process(task)
    while not tasks[0].log.read_text():
        time.sleep(0.01)
    for run in "bc":
        found.children[run].process.wait()
    yield found
    found.children["a"].process.kill()
    found.children["a"].process.wait()


def noted(tmp_path):
    found = {run: json.loads((tmp_path / f"{run}.json").read_text()) for run in "abc"}
    return {run: (entry["exit_code"], entry["advanced"]) for run, entry in found.items()}


def test_a_job_whose_time_is_up_begins_anew_with_the_run_that_got_further(body, tmp_path):
    (tmp_path / "a" / "checkpoints" / "step-2").mkdir()
    again = body.checkpoint().function
    assert again.tasks == body.tasks[:1]
    assert again.children == {}
    assert noted(tmp_path) == {"a": (75, True), "b": (0, True), "c": (1, True)}


def test_a_job_whose_time_is_up_ends_if_no_run_got_further(body, tmp_path):
    with pytest.raises(RuntimeError, match="request more with --time"):
        body.checkpoint()
    assert noted(tmp_path) == {"a": (75, False), "b": (0, True), "c": (1, True)}


def test_a_job_that_was_preempted_at_once_begins_anew(body, tmp_path):
    body.began, body.seconds = time.monotonic(), FOREVER
    assert body.checkpoint().function.tasks == body.tasks[:1]
    assert noted(tmp_path)["a"] == (75, True)


def test_a_run_that_was_told_to_save_before_it_listened_begins_anew(body, tmp_path):
    child = body.children["a"].process
    child.send_signal(signal.SIGUSR2)
    child.wait()
    body.began, body.seconds = time.monotonic(), FOREVER
    assert body.checkpoint().function.tasks == body.tasks[:1]
    assert noted(tmp_path)["a"] == (-signal.SIGUSR2, True)


def test_a_signal_while_jobs_are_handed_over_comes_after_it():
    done = []

    def hand_over():
        with submission.signals_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        hand_over()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("gpus", "runs_per_gpu", "devices"),
    [
        ("0", 1, [[None]] * 5),
        ("1", 2, [[None, None], [None, None], [None]]),
        ("a100:2", 2, [["cuda:0", "cuda:1", "cuda:0", "cuda:1"], ["cuda:0"]]),
    ],
)
def test_a_job_takes_as_many_runs_as_its_gpus_hold(
    tmp_path, programs, monkeypatch, gpus, runs_per_gpu, devices
):
    programs(scontrol="MaxArraySize = 1001")
    bodies = []

    def submit(found, *_):
        bodies.extend(found)
        return [f"17_{number}" for number in range(len(found))]

    monkeypatch.setattr(slurm_launcher, "submit", submit)
    settings = SlurmSettings(gpus=gpus, runs_per_gpu=runs_per_gpu)
    launcher = SlurmLauncher(tmp_path / "jobs", settings)
    tasks = [Task(run, tmp_path / run, tmp_path / f"{run}.log", 1) for run in "abcde"]
    destinations = launcher.submit(tasks)
    assert [[task.device for task in body.tasks] for body in bodies] == devices
    assert len(set(destinations)) == len(devices)
    assert [task.run for body in bodies for task in body.tasks] == list("abcde")


@pytest.fixture
def handed_over(tmp_path, programs):
    """Three runs that were sent to a queue."""
    launcher = SlurmLauncher(tmp_path / "jobs", SlurmSettings())
    launcher.folder.mkdir()
    for number, run in enumerate("abc"):
        append_line(launcher.ledger, {"run": run, "job": f"17_{number}", "submitted": "now"})
    return launcher


def all_shown(launcher, entries, name=None):
    """What `scontrol` prints of these runs' jobs."""
    lines = [shown(f"17_{number}", entries, name or launcher.name) for number in range(3)]
    return "\n".join(lines)


def test_what_the_queue_does_not_have_has_ended(handed_over, programs):
    said = all_shown(handed_over, "JobState=TIMEOUT ExitCode=0:0 NodeList=n1")
    programs(squeue="17_0|SPECIAL_EXIT\n17_1|COMPLETING\n99|RUNNING", scontrol=said)
    assert handed_over.states() == {"a": "queued", "b": "running", "c": "ended"}
    ending = handed_over.collect("c")
    assert (ending.cause, ending.fault, ending.where) == ("timed out", "cluster", "17_2 on n1")
    assert set(handed_over.states()) == {"a", "b"}


def test_what_left_the_queue_a_moment_ago_has_not_ended_before_slurm_says_so(handed_over, programs):
    said = "JobState=COMPLETING ExitCode=0:0 NodeList=n1"
    programs(squeue="", scontrol=all_shown(handed_over, said))
    assert set(handed_over.states().values()) == {"running"}


def test_jobs_of_another_user_are_seen_and_not_cancelled(handed_over, programs):
    said = "JobState=PENDING ExitCode=0:0 NodeList="
    programs(squeue="", scontrol=all_shown(handed_over, said))
    assert set(handed_over.states().values()) == {"queued"}
    assert handed_over.cancel(["a", "b"], at_once=False) == []


def test_a_copied_ledger_names_nobody_elses_jobs(handed_over, programs):
    said = "JobState=RUNNING ExitCode=0:0 NodeList=n1"
    programs(squeue="", scontrol=all_shown(handed_over, said, name="ez-other"))
    assert set(handed_over.states().values()) == {"ended"}
    assert handed_over.collect("a").cause == UNKNOWN_JOB


def test_a_job_that_ends_while_it_is_cancelled_is_no_error(handed_over, programs):
    late = "scancel: error: Kill job error on job id 17_0: Job/step already completing or completed"
    programs(squeue="17_0|RUNNING\n17_1|RUNNING", scancel=(1, late))
    assert handed_over.cancel(["a", "b", "c"], at_once=False) == ["a", "b"]
    programs(squeue="17_0|RUNNING", scancel=(1, "scancel: error: Access denied"))
    with fails("EZ-SLURM-NO-ANSWER", "`scancel", "Access denied"):
        handed_over.cancel(["a"], at_once=False)


def test_what_was_handed_over_before_sbatch_refused_is_said(tmp_path, programs, monkeypatch):
    programs(scontrol="MaxArraySize = 2")

    def submit(bodies, folder, *_):
        if (folder / "ledger.jsonl").exists():
            raise EzError("EZ-SLURM-REFUSED", "too many")
        return ["17_0", "17_1"]

    monkeypatch.setattr(slurm_launcher, "submit", submit)
    launcher = SlurmLauncher(tmp_path / "jobs", SlurmSettings())
    tasks = [Task(run, tmp_path / run, tmp_path / f"{run}.log", 1) for run in "abc"]
    with fails("EZ-SLURM-PARTLY-SENT", "2 of 3 runs", "too many"):
        launcher.submit(tasks)
    programs(squeue="17_0|RUNNING\n17_1|RUNNING")
    assert set(launcher.states()) == {"a", "b"}


def test_a_queue_with_a_limit_is_not_given_more(tmp_path, programs):
    settings = SlurmSettings(max_submitted=3, gpus="2", runs_per_gpu=2)
    assert SlurmLauncher(tmp_path / "jobs", settings).slots == 12
    assert SlurmLauncher(tmp_path / "jobs", SlurmSettings()).slots is None


def test_slurm_is_missed_only_where_jobs_were_not_collected(handed_over, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with fails("EZ-SLURM-NO-PROGRAM", "'sbatch'"):
        queue_of(handed_over.folder)
    assert queue_of(handed_over.folder, besides=SlurmSettings()) is None
    for number, run in enumerate("abc"):
        line = {"run": run, "job": f"17_{number}", "submitted": "now", "collected": True}
        append_line(handed_over.ledger, line)
    assert queue_of(handed_over.folder) is None


def test_a_run_that_was_handed_over_again_is_its_last_job(handed_over, programs):
    append_line(handed_over.ledger, {"run": "a", "job": "18", "submitted": "later"})
    said = all_shown(handed_over, "JobState=FAILED ExitCode=1:0 NodeList=n1")
    programs(squeue="18|RUNNING", scontrol=said)
    assert handed_over.states()["a"] == "running"
    assert handed_over.overview()["a"] == ("18", "running", None)


def test_what_a_run_said_itself_counts_for_its_own_job_only(handed_over, programs):
    said = all_shown(handed_over, "JobState=FAILED ExitCode=1:0 NodeList=n1")
    programs(squeue="", scontrol=said)
    for run, job in (("a", "17_0"), ("b", "16_1")):
        text = note(job=job, last_lines=["the fan is on fire"]).model_dump_json()
        (handed_over.folder / f"{run}.json").write_text(text)
    (handed_over.folder / "c.json").write_text('{"job": "17_2", "exit_code": 0')
    assert set(handed_over.states().values()) == {"ended"}
    own, other, torn = (handed_over.collect(run) for run in "abc")
    assert (own.exit_code, own.seconds, own.last_lines) == (2, 5.0, ("the fan is on fire",))
    assert (other.exit_code, other.last_lines) == (torn.exit_code, torn.last_lines) == (1, ())


@pytest.mark.parametrize(
    ("run", "job"), [("a", "--help"), ("a", 17), ("a", None), ("../a", "17"), (3, "17_0")]
)
def test_a_ledger_cannot_name_options_or_files_elsewhere(handed_over, run, job):
    append_line(
        handed_over.ledger, {"run": run, "job": job, "submitted": "now", "collected": False}
    )
    with fails("EZ-RUN-DAMAGED", "ledger.jsonl'"):
        handed_over.states()


def test_a_queue_that_does_not_answer_is_a_sentence(handed_over, programs):
    programs(squeue=(1, "out of order"))
    with fails("EZ-SLURM-NO-ANSWER", "`squeue ", "out of order"):
        handed_over.states()


def test_nothing_is_asked_when_nothing_was_handed_over(tmp_path, programs):
    programs(squeue=(1, "out of order"))
    assert SlurmLauncher(tmp_path / "jobs", SlurmSettings()).states() == {}


def test_a_machine_without_slurm_is_told_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with fails("EZ-SLURM-NO-PROGRAM", "'sbatch'"):
        SlurmLauncher(tmp_path, SlurmSettings())


def test_a_job_knows_its_name_as_the_queue_writes_it(monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    assert slurm_job.job_name() is None
    monkeypatch.setenv("SLURM_JOB_ID", "20")
    assert slurm_job.job_name() == "20"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert slurm_job.job_name() == "17_3"
