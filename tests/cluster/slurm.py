"""A private SLURM on this machine: munge, one controller and two nodes, all in one folder.

Both nodes are this machine, and claim two cores each whatever it has. Nothing outside the folder is
touched, so that it can stand beside an installed SLURM. Root only: slurmd wants it.
"""

import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.waiting import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
NODES = ("n1", "n2")
# Its limits are such that no daemon or job that stands still for half a minute counts as lost.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPort={port}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
ReturnToService=2
MessageTimeout=100
TCPTimeout=60
BatchStartTimeout=120
SlurmdTimeout=300
KillWait=120
UnkillableStepTimeout=600
MinJobAge=600
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=2 RealMemory=8000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""


def missing() -> list[str]:
    """What a SLURM of one's own needs and this machine lacks."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]


def free_ports(names: Sequence[str]) -> dict[str, int]:
    """One for each name that nobody listens on now; a kernel gives clients higher ones."""
    found: dict[str, int] = {}
    with ExitStack() as stack:
        while len(found) < len(names):
            listener, port = stack.enter_context(socket.socket()), random.randrange(20000, 32000)
            with suppress(OSError):
                listener.bind(("", port))
                found[names[len(found)]] = port
    return found


class Slurm:
    """Starts with the object, ends with `close`; commands find it through SLURM_CONF.

    Args:
      folder: for all of its files; short, for the socket in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.config = folder, folder / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen] = {}
        (folder / "state").mkdir(parents=True)
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        ports = free_ports(["port", "port_1", "port_2"])
        self.config.write_text(CONFIG.format(folder=folder, host=socket.gethostname(), **ports))
        try:
            self.start("munged", "--force", "--foreground", *self.munge_files())
            wait_for((folder / "munge.sock").exists)
            self.start("slurmctld", "-D")
            for node in NODES:
                self.start_node(node)
            self.wait_idle()
        except BaseException:
            self.close()
            raise

    def munge_files(self) -> list[str]:
        """Options of munged that keep it in our folder."""
        names = {"key-file": "key", "socket": "sock", "pid-file": "pid", "log-file": "log"}
        found = [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]
        return [*found, f"--seed-file={self.folder}/munge.seed"]

    @property
    def environment(self) -> dict[str, str]:
        """What makes commands find this SLURM."""
        return {"SLURM_CONF": str(self.config)}

    def start(self, name: str, *arguments: str, key: str | None = None) -> None:
        """Starts a daemon."""
        with (self.folder / f"{key or name}.out").open("ab") as log:
            self.daemons[key or name] = subprocess.Popen(
                [name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
                start_new_session=True,
            )

    def start_node(self, node: str) -> None:
        """Starts the daemon of a node, as after it has booted."""
        self.start("slurmd", "-D", "-N", node, key=node)

    def fail_node(self, node: str) -> None:
        """A power cut: the daemon and every process of the node's jobs are gone at once."""
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()
        own = set(self.processes())
        tasks = {pid for pid in own if f"SLURMD_NODENAME={node}" in environment(pid)}
        steps = {parent(pid) for pid in tasks} & own  # those that would tell how their tasks ended
        for pid in [*(steps - tasks), *tasks]:
            end(pid)
        wait_for(lambda: not any(map(is_alive, steps | tasks)))
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power")

    def processes(self) -> list[int]:
        """Everything that was started by this SLURM and has not laid its environment down."""
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        mark = f"SLURM_CONF={self.config}"
        return [pid for pid in pids if pid != os.getpid() and mark in environment(pid)]

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints, once a daemon answers it; nothing if it fails."""
        deadline = time.monotonic() + 300
        while True:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                env=os.environ | self.environment,
                check=False,
            )
            if not re.search("Unable to contact|timed out|Zero Bytes|refused", done.stderr):
                return done.stdout
            if time.monotonic() > deadline:
                raise TimeoutError(done.stderr)
            time.sleep(1)

    def queue(self) -> list[str]:
        """Jobs that have not ended, as `17_3 RUNNING`."""
        return self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines()

    def node(self, job: str) -> str:
        """Where a job runs; empty if it does not."""
        return self.facts(job).get("NodeList", "").replace("(null)", "")

    def facts(self, job: str) -> dict[str, str]:
        """What the controller says of a job, at one moment."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "-o", "show", "job", job)))

    def limit(self, jobs: list[str], minutes: int) -> None:
        """Leaves jobs so many minutes from now, less a part of one."""
        for job in jobs:
            ran = self.facts(job)["RunTime"].split(":")  # hours, minutes, seconds
            limit = 60 * int(ran[0]) + int(ran[1]) + minutes
            self.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={limit}")

    def hurry(self, jobs: list[str]) -> None:
        """Waits until jobs are queued again, and spares them the two minutes of SLURM."""

        def is_queued_again(job: str) -> bool:
            facts = self.facts(job)
            return facts["Restarts"] != "0" and facts["JobState"] in ("PENDING", "RUNNING")

        for job in jobs:
            wait_for(partial(is_queued_again, job))
            # A node refuses a job that begins anew in the second in which it ended there.
            self.ask("scontrol", "update", f"JobId={job}", "StartTime=now+2")

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Jobs are queued and none begins."""
        self.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
        try:
            yield
        finally:
            self.ask("scontrol", "update", "PartitionName=main", "State=UP")

    @contextmanager
    def changed(self, name: str, value: int) -> Iterator[None]:
        """With another value of a setting."""
        usual = self.config.read_text()
        try:
            self.config.write_text(re.sub(rf"\b{name}=\d+", f"{name}={value}", usual))
            self.ask("scontrol", "reconfigure")
            yield
        finally:
            self.config.write_text(usual)
            self.ask("scontrol", "reconfigure")

    def wait_empty(self) -> None:
        """Until nothing is in the queue."""
        wait_for(lambda: not self.queue())

    def wait_idle(self) -> None:
        """Until every node waits for jobs."""
        wait_for(lambda: self.ask("sinfo", "-h", "-o", "%D", "-t", "idle").strip() == "2")

    def close(self) -> None:
        """Ends every daemon, and what it started."""
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait()
        for pid in self.processes():
            end(pid)


def environment(pid: int) -> list[str]:
    """The variables that a process was started with; none if it is gone."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def parent(pid: int) -> int:
    """The process that started a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def below(pid: int) -> set[int]:
    """The processes that a process started, and those that they did."""
    everything = {int(path.name) for path in Path("/proc").glob("[0-9]*")}
    own = {child for child in everything if parent(child) == pid}
    return own.union(*map(below, own))


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def end(pid: int) -> None:
    """SIGKILL, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
