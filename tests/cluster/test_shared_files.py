"""Two machines that share a folder on a filesystem whose locks are local to each machine.

Each machine is a host name of its own (a UTS namespace) and its own mount of the folder, through
bindfs, which like NFS with `nolock` tells no kernel of another's locks. The clocks of the locks are
made quick.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ezcli.runs.folder import RunFolder
from tests.cluster.test_slurm import GAME, SETS, are_held, trained_alone
from tests.runs.helpers import outcome
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
BUSY = 3
TRAIN = ["train", "--env", "game.py:Waiting", "--preset", "smoke", "--name", "run", *SETS]
QUICK = """
from ezcli.runs import lock
lock.BEAT, lock.GONE_AFTER = 0.5, {patience}
from ezcli.cli import main
main()
"""


class Machine:
    """A host name, and a mount of the shared folder."""

    def __init__(self, name, mount):
        self.name, self.mount, self.processes = name, mount, []

    def start(self, patience=5.0):
        """`ez train` there, which takes a holder for gone that was silent for so many seconds."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', self.name]
        process = subprocess.Popen(
            [*named, sys.executable, "-c", QUICK.format(patience=patience), *TRAIN],
            cwd=self.mount,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def switch_off(self):
        """Nothing of it is left."""
        for process in self.processes:
            process.kill()
            process.communicate()
        subprocess.run(["umount", "--lazy", self.mount], check=True)


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "game.py").write_text(GAME)
    return folder


@pytest.fixture
def machines(tmp_path, shared):
    """Two. Where nothing can be mounted or named `make test-slow` names the skip."""
    lacking = [p for p in ("bindfs", "umount", "unshare", "hostname") if not shutil.which(p)]
    assert not (lacking and os.environ.get("CI")), lacking
    if lacking:
        pytest.skip(f"no two machines here: {', '.join(lacking)} missing")
    if os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no two machines here: that needs root and /dev/fuse")
    found = [Machine(name, tmp_path / name) for name in ("node-a", "node-b")]
    with ExitStack() as stack:
        for machine in found:
            machine.mount.mkdir()
            subprocess.run(["bindfs", shared, machine.mount], check=True)
            stack.callback(machine.switch_off)
        yield found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return outcome(RunFolder(trained_alone(tmp_path_factory.mktemp("alone"), TRAIN) / "run"))


def holder(shared):
    return (shared / "runs" / "run" / ".lock-holder").read_text()


def said(process):
    """Exit code and output of a process, once it has ended."""
    output, _ = process.communicate(timeout=400)
    return process.returncode, output


def test_locks_are_kept_to_each_machine(machines):
    """Else the other tests would pass by the kernel's doing."""
    program = "import fcntl, sys; l = open('l', 'w'); fcntl.flock(l, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    keeping = [sys.executable, "-c", f"{program}; print(flush=True); sys.stdin.read()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first, second = (machine.mount for machine in machines)
    with subprocess.Popen(keeping, cwd=first, **pipes) as holding:
        holding.stdout.readline()
        asked = [sys.executable, "-c", program]
        quiet = {"stderr": subprocess.DEVNULL, "check": False}
        assert subprocess.run(asked, cwd=first, **quiet).returncode == 1
        assert subprocess.run(asked, cwd=second, **quiet).returncode == 0


def test_of_two_that_start_at_once_one_trains(machines, shared, undisturbed):
    both = [machine.start(patience=3600.0) for machine in machines]
    wait_for(lambda: any(process.poll() is not None for process in both))
    (refused,) = (process for process in both if process.poll() is not None)
    (training,) = (process for process in both if process is not refused)
    code, output = said(refused)
    assert code == BUSY, output
    assert f"on {machines[both.index(training)].name})" in output
    (shared / "release").touch()
    assert said(training)[0] == 0
    assert outcome(RunFolder(shared / "runs" / "run")) == undisturbed


def test_the_run_of_a_machine_that_died_goes_on_elsewhere(machines, shared, undisturbed):
    dying = machines[0].start()
    wait_for(lambda: are_held(shared, runs=1))
    dying.kill()
    said(dying)
    assert "node-a" in holder(shared)
    (shared / "release").touch()
    code, output = said(machines[1].start())
    assert code == 0, output
    assert outcome(RunFolder(shared / "runs" / "run")) == undisturbed


def test_a_machine_that_slept_too_long_writes_no_more(machines, shared, undisturbed):
    sleeping = machines[0].start()
    wait_for(lambda: are_held(shared, runs=1))
    sleeping.send_signal(signal.SIGSTOP)
    (shared / "release").touch()
    code, output = said(machines[1].start())
    assert code == 0, output
    sleeping.send_signal(signal.SIGCONT)
    code, output = said(sleeping)
    assert code == BUSY, output
    assert "took over the run 'run' while this process was suspended" in output
    assert outcome(RunFolder(shared / "runs" / "run")) == undisturbed
    assert RunFolder(shared / "runs" / "run").read_info()["status"] == "finished"
