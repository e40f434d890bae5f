"""Runs to disturb, and the ways to start them."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.experiments.study import StudyFolder
from ezcli.runs.folder import RunFolder
from tests.runs.helpers import ROOM, TINY, outcome, sets
from tests.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
# Lengths: a few minutes less in CI than when somebody hunts with `make chaos`.
KILLS = int(os.environ.get("EZ_CHAOS_KILLS", "0"))
IS_LONG = KILLS > 0
only_long = pytest.mark.skipif(not IS_LONG, reason="too long for CI: run by `make chaos`")

SAVING = "record.checkpoint_minutes=0"  # after every cycle
# Shorter still, and with a replay that overwrites its past, so that frames are removed too.
SHORT = ("schedule.env_steps=48", "schedule.final_train_steps=2", "replay.capacity=44")
SHORT += ("optimiser.decayed_train_steps=2", "evaluation.interval=2")
SETS = sets(*TINY, *ROOM["catch"], *SHORT, SAVING)
TRAIN = ["train", "--env", "catch", "--preset", "smoke", "--name", "run", *SETS, "--runs-dir"]
ABLATE = ["ablate", "--env", "catch", "--preset", "smoke", "--study", "s", "--seeds", "2", *SETS]
ABLATE += ["--drop", "value-prefix", "--jobs", "2", "--quiet", "--runs-dir"]


class Zygote:
    """The process that forks `ez` commands (`tests.chaos.zygote`)."""

    def __init__(self, folder: Path):
        self.folder, self.started = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a terminal that closes takes it along only with its input
        )
        assert self._answer() == "ready"

    def _answer(self):
        return json.loads(self.process.stdout.readline())

    def _ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def start(self, *arguments, **options):
        """A child that runs `ez` with these arguments."""
        self.started += 1
        out = self.folder / str(self.started)
        pid = self._ask(arguments=[*map(str, arguments)], out=str(out), **options)
        return Child(self, pid, out)

    def run(self, *arguments, **options):
        """The same, to its end: exit code and what it said."""
        child = self.start(*arguments, **options)
        return child.wait(), child.said

    def poll(self, pid):
        return self._ask(poll=pid)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Child:
    """A forked command."""

    def __init__(self, zygote, pid, out):
        self.zygote, self.pid, self.out, self.returncode = zygote, pid, out, None

    @property
    def said(self):
        return self.out.read_text()

    def poll(self):
        if self.returncode is None:
            self.returncode = self.zygote.poll(self.pid)
        return self.returncode

    def wait(self):
        wait_for(lambda: self.poll() is not None)
        return self.returncode

    def kill(self, number=signal.SIGKILL):
        if self.poll() is None:
            os.kill(self.pid, number)


def fault(folder, at=-1, what="count", log=None, gate=None):
    """A request for `tests.chaos.faults`."""
    paths = {"folder": folder, "log": log, "gate": gate}
    return {name: path and str(path) for name, path in paths.items()} | {"at": at, "what": what}


@contextlib.contextmanager
def held(zygote, command, folder, at, log=None, **options):
    """A command that waits before its call number `at` that changes the folder, for as long.

    Whatever else runs, and however late, finds it there; the test need not be quick.
    """
    gate = zygote.folder / f"gate-{zygote.started}"
    child = zygote.start(*command, fault=fault(folder, at, "hold", log, gate), **options)
    try:
        wait_for(lambda: gate.exists() or child.poll() is not None)
        assert child.returncode is None, f"it ended with {child.returncode}: {child.said}"
        yield child
    finally:
        gate.unlink(missing_ok=True)


def ez(*arguments, prefix=(), **options):
    """A command in a process of its own, from the start of Python on."""
    return subprocess.run(
        [*prefix, sys.executable, "-m", "ezcli", *map(str, arguments)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": PATIENCE} | options,
    )


def some(values, few):
    """All values or, in the short form, a few of them."""
    return list(values) if IS_LONG else few


def is_sentence(code, said, exit_code=1):
    """Whether a command ended as a command should: with a sentence and no traceback."""
    return code == exit_code and "error: " in said and "Traceback" not in said


def without_privileges():
    """What to put before a command so that permissions hold for it, also if we are root."""
    if os.geteuid() != 0:
        return []
    assert shutil.which("setpriv"), "root needs setpriv to lay its privileges down"
    held = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={held}", f"--inh-caps={held}"]


def children(pid):
    """Process ids of the direct children."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def study_results(runs_dir):
    """Bytes of everything that the study's runs decide."""
    cells = json.loads((StudyFolder(runs_dir, "s").path / "study.json").read_text())["cells"]
    return {cell["run"]: outcome(RunFolder(runs_dir / cell["run"])) for cell in cells}


@contextlib.contextmanager
def tmpfs(path, size, options=""):
    """A small file system of its own. Where none can be mounted `make test-slow` names the skip.

    What a full disk does is tried everywhere, by a fault at each call (`tests.chaos.faults`).
    """
    path.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}{options}", "tmpfs", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here: that needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
