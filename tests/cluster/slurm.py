"""A real SLURM of one's own on this machine: munge, one controller, two nodes, all in one folder.

Both nodes are this machine, and claim two cores each whatever it has. Nothing outside the folder is
touched, so that it can stand beside an installed SLURM. Root only: slurmd wants it.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
NODES = ("n1", "n2")
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
SlurmdTimeout=8
KillWait=30
MinJobAge=600
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_1} CPUs=2 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port_2} CPUs=2 RealMemory=8000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
"""


def missing() -> list[str]:
    """What a SLURM of one's own needs and this machine lacks."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return lacking if os.geteuid() == 0 else [*lacking, "root"]


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


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
        ports = {"port": free_port(), "port_1": free_port(), "port_2": free_port()}
        self.config.write_text(CONFIG.format(folder=folder, host=socket.gethostname(), **ports))
        self.start("munged", "--force", "--foreground", *self.munge_files())
        wait_for((folder / "munge.sock").exists)
        self.start("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)
        wait_for(lambda: self.ask("sinfo", "-h", "-o", "%D", "-t", "idle").strip() == "2")

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

    def processes(self) -> list[int]:
        """Everything that was started by this SLURM and has not laid its environment down."""
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        mark = f"SLURM_CONF={self.config}"
        return [pid for pid in pids if pid != os.getpid() and mark in environment(pid)]

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints; nothing if it fails."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | self.environment,
            check=False,
        ).stdout

    def queue(self) -> list[str]:
        """Jobs that have not ended, as `17_3 RUNNING`."""
        return self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines()

    def node(self, job: str) -> str:
        """Where a job runs; empty if it does not."""
        found = re.search(r"\bNodeList=(\S*)", self.ask("scontrol", "-o", "show", "job", job))
        return found[1].replace("(null)", "") if found else ""

    def hurry(self, jobs: list[str], seconds: float = 60) -> None:
        """Waits until jobs are queued again, and spares them the two minutes of SLURM."""
        wait_for(lambda: set(self.queue()) >= {f"{job} PENDING" for job in jobs}, seconds)
        for job in jobs:
            self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    @contextmanager
    def short_memory(self) -> Iterator[None]:
        """Has the controller forget jobs soon after they ended, as others do after minutes."""
        usual = self.config.read_text()
        try:
            self.config.write_text(usual.replace("MinJobAge=600", "MinJobAge=2"))
            self.ask("scontrol", "reconfigure")
            yield
        finally:
            self.config.write_text(usual)
            self.ask("scontrol", "reconfigure")

    def wait_empty(self, seconds: float = 120) -> None:
        """Until nothing is in the queue."""
        wait_for(lambda: not self.queue(), seconds)

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


def end(pid: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(found, seconds: float = 60) -> None:
    """Until `found()` is true.

    Raises:
      TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + seconds
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.1)
