"""Replaces `ez resume` in tests of launchers, and trains nothing.

FAKE_EZ in the environment holds JSON: for each run, what its first, second, ... process does
(`ok` after the last of them). One of

    ok      finishes
    slow    holds the run until it is stopped or a file `release` is in the runs folder
    fail    says something and exits 1
    crash   kills itself
    stop    exits 75, as after a SIGTERM from outside
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from ezcli.errors import EzError
from ezcli.runs.folder import RunFolder

parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["resume"])
parser.add_argument("folder", type=Path)
parser.add_argument("--device")
parser.add_argument("--threads", type=int)
for option in ("--quiet", "--trust"):
    parser.add_argument(option, action="store_true")
given = parser.parse_args()

folder = RunFolder(given.folder)
runs_dir = given.folder.parent
stopped = []
signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))


def note(line):
    with (runs_dir / "noted.jsonl").open("a") as handle:
        handle.write(json.dumps(line) + "\n")


def act(action):
    if action == "fail":
        sys.exit("the fan is on fire")
    if action == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    deadline = time.monotonic() + 300  # so that nothing is left of a test that was killed
    while action == "slow" and not stopped and not (runs_dir / "release").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if action == "stop" or stopped:
        folder.update_info(status="interrupted")
        sys.exit(75)
    folder.update_info(status="finished")


try:
    with folder.lock():
        config = folder.config()
        info = folder.read_info()
        number = info.get("processes", 0)
        folder.update_info(status="running", identity=config.identity, processes=number + 1)
        note({"run": folder.name, "device": given.device, "threads": given.threads})
        actions = json.loads(os.environ.get("FAKE_EZ", "{}")).get(folder.name, [])
        act(actions[number] if number < len(actions) else "ok")
except EzError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
