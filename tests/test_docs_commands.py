"""The commands of the documents run, in the order of each page, on presets made tiny.

Runs are trained in this process and their cost is not measured, so that no process is started.
"""

import re
import shlex
import shutil
from time import monotonic
from types import SimpleNamespace

import pytest

from ezcli.config import files
from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.config.text import to_toml
from ezcli.efficientzero import searcher
from ezcli.efficientzero.simulation import Simulation
from ezcli.experiments import estimate
from ezcli.experiments.handover import Child
from ezcli.experiments.launchers import local
from ezcli.runs.cost import Cost, Finished
from ezcli.runs.folder import RunFolder
from tests.documents import HISTORY, PAGES, ROOT, commands, fences
from tests.runs.helpers import TINY, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# What keeps a command from being run; it is parsed by `test_docs.py`.
ONLY_PARSED = {
    r"--launcher (slurm|ray)|--cluster": "it needs a cluster; tests/cluster runs such commands",
    r"--devices cuda": "it needs two GPUs",
    r"--wandb online": "it needs a network and an account",
    r"--install-completion": "it changes the user's shell",
    r"my_package": "the package is the reader's",
    r"\b(RUN|NAME|FOLDER)\b": "the name is the reader's",
    r"^ez --trust$": "an option alone does nothing",
}
# The budget of a command, made small, and an answer where it would ask.
SMALLER = {
    r"(--game .*)--seeds \d+": r"\1--seeds 1",
    r"--seeds [3-9]": "--seeds 2",
    r"--trials \d+": "--trials 2",
    r"--episodes \d+": "--episodes 2",
    r"(--from .*schedule\.env_steps)=\d+": r"\1=40",
    r"^((?!.*--from).*schedule\.env_steps)=\d+": r"\1=32",
    r"^ez bench (--.*)": r"ez bench search --seconds 0.05 \1",
    r"^ez bench (run|search learner)$": r"ez bench \1 --seconds 0.05",
    r"(--games (?:atari26|minatar5).*)": r"\1 --dry-run",
    r"^(ez runs rm .*)": r"\1 --yes",
}
# The budget of every preset: six train_steps.
TINIER = (
    "schedule.env_steps=32",
    "schedule.final_train_steps=2",
    "schedule.target_update_interval=4",
    "evaluation.episodes=1",
    "evaluation.interval=2",
    "evaluation.interval_episodes=1",
    "network.head_channels=2",
    "network.head_hidden=8",
    "network.prefix_lstm=8",
    "network.projection=8",
    "network.projection_bottleneck=4",
    "env.max_episode_steps=20",
    "env.evaluation_max_episode_steps=20",
)
ELSEWHERE = {"ez watch pong.zip", "ez watch ./pong"}  # on a machine without the run
# Pages whose studies are planned with `--dry-run`: the tutorials run such studies.
PLANNED = {"RESULTS.md", "benchmarks/NOTES.md", "docs/results/norms.md"}
# What a page takes for granted.
BEFORE = {
    "docs/how-to/evaluate.md": ["ez train --env catch", "ez train --game pong"],
    "docs/how-to/python.md": ["ez train --env catch --name first"],
    "docs/how-to/report.md": [
        "ez train --env catch",
        "ez train --env catch --seed 1",
        "ez train --game pong",
        "ez ablate --env catch --drop value-prefix --seeds 2",
    ],
    "docs/how-to/share.md": ["ez train --game pong"],
    "docs/how-to/train.md": [
        "ez train --env catch",
        "ez train --env catch --seed 1",
        "ez train --game pong --preset atari100k",
    ],
    "docs/how-to/watch.md": ["ez train --game pong"],
    "docs/notebooks/own-figure.ipynb": ["ez train --env catch"],
    "docs/notebooks/trained-agent.ipynb": ["ez train --env catch --name notebook-agent"],
    "docs/tutorials/cluster.md": [
        "ez ablate --drop value-prefix --game pong --preset atari100k --seeds 1"
    ],
}
# Files that a page has the reader save.
SAVED = {
    "docs/how-to/tune.md": ("space.toml", "toml"),
    "docs/tutorials/your-own-environment.md": ("corridor.py", "python"),
}


def runnable(page):
    """The commands of a page that run, as they are run."""
    for line in commands(page):
        if any(re.search(pattern, line) for pattern in ONLY_PARSED):
            continue
        line = line.partition("#")[0].strip()
        for pattern, smaller in SMALLER.items():
            line = re.sub(pattern, smaller, line)
        if page in PLANNED and line.startswith("ez ablate"):
            line += " --dry-run"
        yield line


RUN = [page for page in PAGES if page not in HISTORY and list(runnable(page))]


@pytest.fixture(scope="session")
def tiny_presets(tmp_path_factory):
    """A folder with every preset and ablation, each preset with the budget of a tiny run."""
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "presets").mkdir()
    (folder / "ablations").symlink_to(ROOT / "ablations")
    for name in preset_names():
        small = {one.partition("=")[0]: one for one in (*TINY, *TINIER)}
        del small["network.downsamplings"]  # set by the size of a frame
        tables = read_toml(preset_path(name))
        if "block_env_steps" in tables["replay"]:
            small["replay.block_env_steps"] = "replay.block_env_steps=0"  # a block has 400
        text = to_toml(resolve(tables, small.values()))
        (folder / "presets" / f"{name}.toml").write_text(text)
    return folder


@pytest.fixture
def small(tiny_presets, monkeypatch):
    """Every command takes tiny presets, sees no GPU, and trains runs at once."""
    monkeypatch.setattr(files, "SHIPPED", (tiny_presets,))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(local, "start_process", train_here)
    monkeypatch.setattr(searcher, "traced", lambda network, _, constants: plain(network, constants))
    monkeypatch.setattr(estimate, "measure", lambda config: Finished(config, Cost(0.1, 1, 1)))


def plain(network, constants):
    """A search without a recording, which would take longer than these few simulations."""
    return Simulation(network, constants.prefix_horizon)


def train_here(task):
    """A process that has ended: its run was trained by this one."""
    task.log.touch()
    run(task.folder, RunFolder(task.folder).config())
    ended = SimpleNamespace(poll=lambda: 0, wait=lambda: 0)
    return Child(task, ended, 0, "2026-01-01T00:00:00+00:00", monotonic())


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(page, ez, small, tmp_path):
    if page in SAVED:
        name, language = SAVED[page]
        (tmp_path / name).write_text(fences(page, language)[0])
    for line in [*BEFORE.get(page, ()), *runnable(page)]:
        if line in ELSEWHERE:
            shutil.rmtree("runs")
        code, out, err = ez(*shlex.split(line)[1:])
        assert code == 0, f"{line}\n{out}\n{err}"


def test_each_reason_not_to_run_a_command_has_a_command():
    lines = [line for page in PAGES if page not in HISTORY for line in commands(page)]
    for pattern in ONLY_PARSED:
        assert any(re.search(pattern, line) for line in lines), pattern
