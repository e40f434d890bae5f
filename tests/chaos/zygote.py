"""A process that has loaded everything and forks a child for each `ez` command.

A start of Python with PyTorch takes seconds; a fork takes none. Each line of its input is one
request in JSON, each line of its output the answer. `python -m tests.chaos.zygote`
"""

import contextlib
import json
import os
import resource
import signal
import sys
import traceback
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import torch

import ezcli.commands.ablate
import ezcli.commands.report
import ezcli.commands.runs
import ezcli.commands.training
from ezcli.cli import main
from ezcli.experiments import handover
from ezcli.runs.compute import resolve_compute, warm_up_search
from ezcli.runs.trainer import Trainer
from tests.chaos.faults import Fault, install
from tests.runs.helpers import tiny


def load() -> None:
    """Everything a run imports and compiles; nothing may be learnt, which starts threads."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
    torch.set_num_threads(1)
    warm_up_search()
    Trainer(tiny(), resolve_compute(tiny().compute))
    handover.subprocess = SimpleNamespace(Popen=Forked, STDOUT=None, DEVNULL=None)


def fork(arguments, out, fault=None, new_session=False, ignored=(), memory=None, clock=None) -> int:
    """A child that runs `ez`; its id.

    Args:
      arguments: of `ez`.
      out: file descriptor of its output and errors.
      fault: a `tests.chaos.faults.Fault`, as a table.
      new_session: as in `subprocess.Popen`.
      ignored: signals that it ignores from the start on, as under nohup.
      memory: bytes that it may have beside what is loaded already.
      clock: seconds that its wall clock is moved at each look, the signs taking turns.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for descriptor, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
            os.dup2(file, descriptor)
        if new_session:  # a run of a study holds none of its launcher's files, and no lock
            os.setsid()
            os.closerange(3, 256)
        if memory is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        if clock is not None:
            ezcli.runs.provenance.datetime = jumping(clock)
        sys.argv = ["ez", *arguments]
        code = run(fault)
    except KeyboardInterrupt:  # before there was anything that listens
        code = 130
    except BaseException:  # as at the top of a process
        traceback.print_exc()
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


def jumping(seconds: float) -> type[datetime]:
    """A `datetime` by which the time is now later, now earlier, ever further off."""
    jumps = count(1)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            number = next(jumps)
            return datetime.now(tz) + timedelta(seconds=(-1) ** number * number * seconds)

    return Jumping


def run(fault) -> int:
    """The command; its exit code."""
    if fault is not None:
        install(Fault(**fault))
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


class Forked:
    """Stands in for `subprocess.Popen` in a study's launcher."""

    def __init__(self, command, stdin, stdout, stderr, start_new_session, env, preexec_fn):
        self.returncode = None
        arguments = command[command.index("ezcli") + 1 :]
        self.pid = fork(arguments, stdout.fileno(), new_session=start_new_session)

    def poll(self, options=os.WNOHANG):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self):
        return self.poll(0)

    def send_signal(self, number):
        os.kill(self.pid, number)


def serve() -> None:
    """Answers until the input ends."""
    load()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            out = os.open(request.pop("out"), flags, 0o666)
            answer = fork(**request, out=out)
            os.close(out)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
