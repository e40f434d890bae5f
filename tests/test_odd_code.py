"""Side effects of an environment's code on the process."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch

from ezcli.envs.custom_suite import CustomSettings
from ezcli.envs.make import make_env
from ezcli.runs.folder import RunFolder
from tests.runs.helpers import TINY
from tests.test_cli import MY_ENV

SETS = [part for setting in TINY for part in ("--set", setting)]
OWN = ["--env", "game.py:Corridor", "--preset", "smoke", *SETS]
PRINTS = """
import ctypes, os, sys
print("by Python")
os.write(1, b"by number\\n")
ctypes.CDLL(None).puts(b"by C")
os.system("echo by a child")
sys.__stdout__.write("by the first standard output\\n")
"""


RECORDS = ("metrics", "evaluations")


def process(*arguments):
    """A command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ezcli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def game(tmp_path, monkeypatch):
    """The file of an environment, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "game.py"
    path.write_text(MY_ENV)
    return path


@pytest.mark.slow
def test_json_is_all_of_standard_output_whatever_an_environment_prints(game, ez):
    told = PRINTS.replace("\n", "\n        ")
    game.write_text(f"{PRINTS}{MY_ENV}".replace("self.spec =", f"{told}self.spec ="))
    assert ez("train", *OWN, "--quiet", "--name", "x")[0] == 0
    for command in (
        ["evaluate", "runs/x", "--json"],
        ["cost", *OWN, "--json"],
        ["bench", "environment", "--seconds", "0.01", *OWN, "--json"],
        ["ablate", *OWN, "--drop", "value-prefix", "--seeds", "1", "--json"],
    ):
        done = process(*command)
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), dict)
    commands = process("ablate", *OWN, "--seeds", "2", "--print-commands")
    lines = commands.stdout.splitlines()
    assert [" ".join(line.split()[:3]) for line in lines] == ["ez --trust resume"] * len(lines)
    assert lines


# ------------------------------------------------------------------ settings of the process


QUICK = {  # what also a step must leave as it was
    "dtype": "torch.set_default_dtype(torch.float64)",
    "grad": "torch.set_grad_enabled(False)",
    "threads": "torch.set_num_threads(4)",
    "numpy": "np.seterr(all='raise')",
    "folder": "os.chdir('/')",
}
RARE = {
    "device": "torch.set_default_device('meta')",
    "deterministic": "torch.use_deterministic_algorithms(True)",
    "mkldnn": "torch.backends.mkldnn.enabled = False",
    "matmul": "torch.set_float32_matmul_precision('medium')",
    "filters": "warnings.simplefilter('error')",
    "no filters": "warnings.resetwarnings()",
    "signals": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "output": "sys.stdout = None",
    "errors": "sys.stderr = None",
}
SEEDS = "import random; random.seed(0); np.random.seed(0); torch.manual_seed(0)"
IMPORTS = "import os, signal, sys, warnings\nimport numpy as np\nimport torch\n"


def state():
    """The settings that decide numbers and what a process does."""
    return {
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "mkldnn": torch.backends.mkldnn.enabled,
        "matmul": torch.get_float32_matmul_precision(),
        "numpy": np.geterr(),
        "folder": os.getcwd(),
        "filters": list(warnings.filters),
        "signals": [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)],
        "streams": (sys.stdin, sys.stdout, sys.stderr),
    }


def own_env(path):
    """The environment of a file."""
    settings = CustomSettings(name="custom", target=f"{path}:Corridor", code={})
    return make_env(settings, evaluation=False)


@pytest.mark.parametrize("line", [*QUICK.values(), *RARE.values()])
@pytest.mark.parametrize("where", ["", "self.spec =", "self.at, self.steps = seed", "is_there ="])
def test_settings_of_the_process_stay_as_they_were(game, where, line):
    if where == "is_there =" and line in RARE.values():
        return  # a step costs microseconds
    code = MY_ENV.replace(where, f"{line}; {where}") if where else f"{line}\n{MY_ENV}"
    game.write_text(f"{IMPORTS}{code}")
    before = state()
    env = own_env(game)
    env.reset(0)
    env.step(1)
    assert state() == before


def test_streams_that_are_closed_are_opened_again(game, capfd):
    game.write_text(f"import os, sys\nsys.stdout.close(); os.close(2)\n{MY_ENV}")
    with open(1, "w", closefd=False) as out, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        own_env(game)
        print("heard", flush=True)
        os.write(2, b"too\n")
    assert capfd.readouterr() == ("heard\n", "too\n")


@pytest.mark.slow
def test_a_run_has_the_same_bits_whatever_its_file_sets(game, ez):
    assert ez("train", *OWN, "--quiet", "--name", "plain")[0] == 0
    lines = "\n".join([*QUICK.values(), *RARE.values(), SEEDS, "sys.__stdout__.close()"])
    game.write_text(f"{IMPORTS}{lines}\n{MY_ENV}")
    done = process("train", *OWN, "--quiet", "--name", "odd")
    assert (done.returncode, done.stderr) == (0, "")
    plain, odd = (
        [RunFolder(game.parent / "runs" / name).read(f"{what}.jsonl") for what in RECORDS]
        for name in ("plain", "odd")
    )
    assert plain == odd


# ------------------------------------------------------------------ the end of the process


@pytest.mark.slow
@pytest.mark.parametrize("is_broken", [False, True])
def test_a_thread_that_never_ends_does_not_keep_the_command(game, is_broken):
    start = "threading.Thread(target=time.sleep, args=(120,), name='helper').start()"
    own = MY_ENV.replace("np.uint8", "float") if is_broken else MY_ENV
    game.write_text(f"import threading, time\n{start}\n{own}")
    began = time.monotonic()
    done = process("train", *OWN, "--quiet", "--name", "x")
    assert time.monotonic() - began < 110
    assert done.returncode == int(is_broken)
    assert "Exiting although these threads still run: helper." in done.stderr
    assert "Traceback" not in done.stderr
