"""Golden hashes of short whole runs, for the CPUs on which they were recorded.

A run is bit-exact on one model of CPU with one set of versions (docs/concepts/determinism.md), so
the hashes in `runs.json` are kept under a fingerprint of those. A machine that none of them matches
adds its own, from a commit before the change to be tested: `python -m tests.golden.runs`.
"""

import hashlib
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from tests.runs.helpers import outcome, run

FILE = Path(__file__).with_name("runs.json")
# Two evaluations on the way, several copies of the network, and a final phase that only learns.
SHORT = (
    "compute.device='cpu'",
    "compute.threads=2",
    "schedule.env_steps=480",
    "schedule.random_env_steps=160",
    "schedule.final_train_steps=40",
    "schedule.target_update_interval=40",
    "optimiser.decayed_train_steps=20",
    "evaluation.episodes=4",
    "evaluation.interval=80",
    "evaluation.interval_episodes=2",
    "record.metrics_interval=20",
    "loss.batch_size=16",
    "search.num_simulations=8",
)
RUNS = {
    "smoke pong": ("smoke", "pong", ()),
    "smoke breakout": ("smoke", "breakout", ()),
    "smoke up_n_down": ("smoke", "up_n_down", ()),
    "catch": ("catch", None, (*SHORT, "schedule.random_env_steps=320")),
    "keydoor": ("keydoor", None, SHORT),
}


def fingerprint():
    """What decides the bits of a run beside its config."""
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    return f"{processor()}; {torch.backends.cpu.get_cpu_capability()}; {versions}"


def processor():
    """Vendor, family, model and stepping where Linux lists them, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.machine()
    pairs = [line.partition(":") for line in reversed(lines)]  # the first processor wins
    found = {name.strip(): value.strip() for name, _, value in pairs}
    return " ".join(found.get(n, "?") for n in ("vendor_id", "cpu family", "model", "stepping"))


def config_of(name):
    """The config of one of `RUNS`."""
    preset, game, overrides = RUNS[name]
    return resolve(use_env(read_toml(preset_path(preset)), None, game), overrides)


def hashes(name, folder):
    """SHA-256 of each of the run's results, in a folder to be made."""
    found = outcome(run(folder, config_of(name)))
    return {file: hashlib.sha256(content).hexdigest() for file, content in found.items()}


def golden():
    """The hashes that were recorded on machines like this one, by run; None if none were."""
    return json.loads(FILE.read_text())["hashes"].get(fingerprint())


def main():
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {"hashes": {}}
    with tempfile.TemporaryDirectory() as folder:
        found = {name: hashes(name, Path(folder) / name) for name in RUNS}
    recorded["hashes"][fingerprint()] = found
    FILE.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"wrote {FILE} for {fingerprint()}")


if __name__ == "__main__":
    main()
