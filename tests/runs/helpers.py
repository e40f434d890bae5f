"""A whole run in a fraction of a second, and helpers for tests of runs."""

import json
import signal
from contextlib import nullcontext
from itertools import cycle

from safetensors.numpy import load_file, save_file

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve, use_env
from ezcli.runs.evaluate import silent
from ezcli.runs.folder import RunFolder
from ezcli.runs.seals import checksum, sha256
from ezcli.runs.train import train

# 7 cycles of 8 env_steps, 2 of them random play, each of the others drawing 2 train_steps; then 2
# cycles that only learn, and 1 for the batches drawn ahead: 14 train_steps in all.
TINY = (
    "compute.device='cpu'",
    "compute.threads=1",
    "network.downsamplings=0",
    "schedule.env_steps=56",
    "schedule.random_env_steps=16",
    "schedule.train_steps_per_env_step=0.25",
    "schedule.final_train_steps=4",
    "schedule.acting_update_interval=2",
    "schedule.target_update_interval=4",
    "schedule.sample_ahead=2",
    "optimiser.decayed_train_steps=4",
    "search.num_simulations=2",
    "network.channels=4",
    "acting.num_envs=2",
    "reanalyse.roots_per_search=4",
    "loss.batch_size=4",
    "loss.unroll_steps=2",
    "value.td_steps=2",
    "evaluation.episodes=2",
    "evaluation.interval=6",
    "evaluation.interval_episodes=2",
    "record.metrics_interval=3",
)
ROOM = {"catch": ("env.rows=4", "env.columns=3"), "keydoor": ("env.size=4",)}
# `ez` that waits for wandb however busy the machine is.
PATIENT = (
    "from ezcli import cli; from ezcli.runs.trackers import weights_and_biases as t; "
    "t.START_SECONDS = 600; cli.main()"
)
EVENTS = 10  # cycles of a tiny run
RESULTS = ("metrics.jsonl", "evaluations.jsonl")


class Watcher:
    """A reporter that keeps what it was told, and stops the run after `stop_after` events."""

    def __init__(self, stop_after=None, number=signal.SIGINT, during=None):
        self.said, self.events = [], []
        self.stop_after, self.number, self.during = stop_after, number, during
        self.lost_output = None

    def say(self, text):
        self.said.append(text)

    def progress(self, event, config, rates):
        self.events.append(event)
        if len(self.events) == self.stop_after:
            signal.raise_signal(self.number)

    def quiet_while(self, what, is_announced=True):
        if is_announced and self.during is not None and what.startswith(self.during):
            signal.raise_signal(self.number)
        return nullcontext(silent)


def tiny(env="catch", *overrides):
    """The preset `smoke` on a small game, made smaller still."""
    tables = use_env(read_toml(preset_path("smoke")), env, None)
    return resolve(tables, [*TINY, *ROOM[env], *overrides])


def atari(game, *overrides):
    """The preset `smoke` with every env_step's lives and frames, on the CPU."""
    tables = use_env(read_toml(preset_path("smoke")), None, game)
    return resolve(tables, ["compute.device='cpu'", *overrides])


def run(path, config, watcher=None, **options):
    """Trains in the folder `path` until the end or until the watcher stops it."""
    folder = RunFolder(path)
    train(config, folder, watcher or Watcher(), **options)
    return folder


def weights(folder):
    """Bytes of the newest weights."""
    return (
        sorted(folder.checkpoints.glob("step-*"))[-1].joinpath("weights.safetensors").read_bytes()
    )


def outcome(folder):
    """Everything that a run's config decides, as bytes."""
    return {file: (folder.path / file).read_bytes() for file in RESULTS} | {
        "weights": weights(folder)
    }


def sets(*settings):
    """Options of `ez` for settings, each once: the last value that is given of it."""
    last = {setting.partition("=")[0]: setting for setting in settings}
    return [part for setting in last.values() for part in ("--set", setting)]


def replaced(command, setting):
    """A command of `ez` with another value of a setting that its `--set` gives."""
    key = setting.partition("=")[0]
    return [setting if part.startswith(f"{key}=") else part for part in command]


FORMER = {"copies": "", "learner": "", "draw": "", "replay": "replay.", "reanalyser": "memo."}


def make_old(folder, number):
    """Lays out the checkpoints as the format 1 or 2 did, before each part had its own files."""
    for path in sorted(folder.checkpoints.iterdir()):
        manifest = json.loads((path / "manifest.json").read_text())
        state = json.loads((path / "state.json").read_text())
        arrays = {}
        for part, prefix in FORMER.items():
            file = path / f"{part}.safetensors"
            found = load_file(file) if file.exists() else {}
            names = {name: name if name == "length" else prefix + name for name in found}
            arrays[part] = {names[name]: array for name, array in found.items()}
            file.unlink(missing_ok=True)
        save_file(arrays["copies"] | arrays["learner"], path / "networks.safetensors")
        others = arrays["replay"] | arrays["reanalyser"] | arrays["draw"]
        save_file(others, path / "replay.safetensors")
        ahead = folder.config().schedule.sample_ahead if arrays["draw"] else 0
        old = {"drawn_steps": manifest["train_steps"] + ahead, "streams": state["streams"]}
        rows = [list(row) for row in zip(*state["metrics"]["training"].values(), strict=True)]
        old |= {"metrics": state["metrics"] | {"training": rows}}
        old["games"] = [[game["seed"], game["actions"]] for game in state["environments"]["games"]]
        (path / "state.json").write_text(json.dumps(old))
        segments = [
            {"file": f"{name}.zst", "sha256": manifest["blobs"][f"frames/{name}.zst"], "pieces": p}
            for name, p in state["frames"]["pieces"].items()
        ]
        names = sorted({file.name for file in path.iterdir()} - {"manifest.json"})
        table = {key: manifest[key] for key in ("identity", "env_steps", "train_steps")}
        table |= {"format": number, "segments": segments}
        table["files"] = {name: sha256(path / name) for name in names}
        if number == 2:
            table["records"] = manifest["records"]
            table["sha256"] = checksum(table)
        (path / "manifest.json").write_text(json.dumps(table))


def contents(path):
    """Every file below `path` with its bytes."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def interrupted(path, config, *stops):
    """The outcome of a run that was stopped after each number of events, then resumed."""
    folder = RunFolder(path)
    for stop, number in zip(stops, cycle([signal.SIGINT, signal.SIGTERM])):
        assert train(config, folder, Watcher(stop, number)) is number
        assert folder.read_info()["status"] == "interrupted"
    assert train(config, folder, Watcher()) is None
    assert folder.read_info()["status"] == "finished"
    return outcome(folder)
