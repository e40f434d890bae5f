"""Studies on a real Ray cluster of two nodes on this machine: interrupted runs continue."""

import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from ezcli.experiments.launchers.ray.launcher import RayLauncher
from ezcli.runs.folder import RunFolder
from tests.cluster.slurm import below, end, is_alive
from tests.cluster.test_slurm import (
    GAME,
    SETS,
    TWO,
    are_held,
    attempts,
    results,
    undisturbed,
    went_on,
)
from tests.failing import check
from tests.runs.helpers import outcome
from tests.waiting import wait_for

__all__ = ["undisturbed"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
WHERE = ["--launcher", "ray", "--gpus", "0", "--cpus", "1"]


class Nodes:
    """A cluster whose nodes hold one run each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add() for _ in range(2)]

    def add(self):
        """One that holds a run."""
        return self.cluster.add_node(num_cpus=1)

    def fail(self):
        """One node is gone, with all of its processes; another takes its place."""
        node = self.nodes.pop()
        with gone(below(raylet(node))):
            self.cluster.remove_node(node, allow_graceful=False)
        self.nodes.append(self.add())

    def kill_a_worker(self):
        """One that trains is gone, and what it started."""
        everything = set().union(*(below(raylet(node)) for node in self.nodes))
        worker = next(pid for pid in everything if title(pid).startswith(b"ray::train"))
        with gone({worker} | below(worker)):
            end(worker)


@contextmanager
def gone(pids):
    """Waits until none of the processes is left."""
    yield
    wait_for(lambda: not any(map(is_alive, pids)))


def raylet(node):
    """The process of a node that starts its workers."""
    return node.all_processes["raylet"][0].process.pid


def title(pid):
    """What a process calls itself; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def nodes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # kills nothing where memory is short
        found = Nodes()
        yield found
        found.cluster.shutdown()


@pytest.fixture
def here(nodes, monkeypatch, tmp_path):
    (tmp_path / "game.py").write_text(GAME)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_ADDRESS", nodes.cluster.address)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def meanwhile(monkeypatch):
    """Does something once, at the first look at which a condition holds."""

    def arrange(condition, action):
        ask, done = RayLauncher.states, []

        def asked(launcher):
            found = ask(launcher)
            if not done and condition(found):
                done.append(True)
                action()
            return found

        monkeypatch.setattr(RayLauncher, "states", asked)

    return arrange


def test_a_study_comes_out_as_it_does_here(ez, here, undisturbed):
    (here / "release").touch()
    code, out, err = ez(*TWO, *WHERE)
    assert code == 0, out + err
    assert results(here / "runs") == undisturbed
    assert attempts(here) == [("exit code 0", "finished")] * 2


def test_a_node_that_fails_takes_no_run_with_it(ez, here, nodes, meanwhile, undisturbed):
    def fail():
        nodes.fail()
        (here / "release").touch()

    meanwhile(lambda _: are_held(here), fail)
    code, out, err = ez(*TWO, *WHERE)
    assert code == 0, out + err
    assert "its node failed; continuing." in out
    assert results(here / "runs") == undisturbed
    assert went_on(here)


def test_a_worker_that_dies_takes_no_run_with_it(ez, here, nodes, meanwhile, undisturbed):
    def kill():
        nodes.kill_a_worker()
        (here / "release").touch()

    meanwhile(lambda _: are_held(here), kill)
    code, out, err = ez(*TWO, *WHERE)
    assert code == 0, out + err
    assert "its worker died; continuing." in out
    assert results(here / "runs") == undisturbed
    assert went_on(here)


def test_ctrl_c_lets_the_runs_save(ez, here, meanwhile, undisturbed):
    meanwhile(lambda _: are_held(here), lambda: signal.raise_signal(signal.SIGINT))
    code, out, _ = ez(*TWO, *WHERE)
    assert code == 130
    assert "the others saved what they had. Continue with: ez ablate --study s" in out
    said = [RunFolder(p.parent).read_info()["status"] for p in here.glob("runs/*/run.json")]
    assert said == ["interrupted"] * 2
    (here / "release").touch()
    assert ez("ablate", "--study", "s")[0] == 0  # which remembers where
    assert results(here / "runs") == undisturbed


class NoWhere(type(Path())):
    """A file of ours that nodes do not see."""

    def touch(self):
        """Makes no file."""


@pytest.fixture
def nothing_is_shared(here, monkeypatch):
    connect = RayLauncher.__init__

    def elsewhere(launcher, *arguments):
        connect(launcher, *arguments)
        launcher.probe = NoWhere(here / "nowhere")

    monkeypatch.setattr(RayLauncher, "__init__", elsewhere)


def have_come_back(here):
    """Whether both runs have brought back what they saved."""
    saved = here.glob("runs/*/checkpoints/step-*/manifest.json")
    return len({manifest.parents[2] for manifest in saved}) == 2


@pytest.mark.usefixtures("nothing_is_shared")
def test_where_nodes_do_not_see_our_files_the_folder_travels(
    ez, here, nodes, meanwhile, undisturbed
):
    settings = "gpus = 0\ncpus = 1\nbring_back_minutes = 0.02\n"
    (here / "mine.toml").write_text(f"launcher = 'ray'\n[ray]\n{settings}")

    def fail():
        runs = [RunFolder(path.parent) for path in here.glob("runs/*/config.toml")]
        wait_for(lambda: all(run.is_locked for run in runs))  # though nobody here trains them
        nodes.fail()
        (here / "release").touch()

    meanwhile(lambda _: are_held(here) and have_come_back(here), fail)
    two = [str(here / "game.py:Waiting") if x == "game.py:Waiting" else x for x in TWO]
    code, out, err = ez(*two, "--cluster", "mine.toml")
    assert code == 0, out + err
    assert "its node failed; continuing." in out
    found = results(here / "runs")
    assert len(found) == 2
    same = {name.rsplit("-", 1)[0]: files for name, files in undisturbed.items()}
    assert {name.rsplit("-", 1)[0]: files for name, files in found.items()} == same
    assert not list(here.glob("runs/.incoming*"))
    assert max(len(RunFolder(here / "runs" / name).sessions()) for name in found) == 2


def test_one_run_is_trained_there(ez, here, undisturbed):
    (here / "release").touch()
    train = ["train", *TWO[1:5], "--name", "one", *SETS, "--cluster", "mine.toml"]
    assert ez(*train)[0] == 2
    check(ez.error, "EZ-CONFIG-UNREADABLE", "'mine.toml'")
    (here / "mine.toml").write_text("launcher = 'ray'\n[ray]\ngpus = 0\n")
    code, out, err = ez("train", *TWO[1:5], "--name", "one", *SETS, "--cluster", "mine.toml")
    assert code == 0, out + err
    assert "one: finished." in out
    (full,) = (found for name, found in undisturbed.items() if "-full-" in name)
    assert outcome(RunFolder(here / "runs" / "one")) == full


@pytest.mark.usefixtures("nothing_is_shared")
def test_the_folder_of_one_run_travels_too(ez, here):
    (here / "release").touch()
    (here / "mine.toml").write_text("launcher = 'ray'\n[ray]\ngpus = 0\n")
    train = ["train", "--env", str(here / "game.py:Waiting"), *TWO[3:5], "--name", "one", *SETS]
    code, out, err = ez(*train, "--cluster", "mine.toml")
    assert code == 0, out + err
    assert RunFolder(here / "runs" / "one").read_info()["status"] == "finished"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--gpus", "1"], "but the largest node of the cluster has 1 CPU, 0 GPU."),
        (
            ["--gpus", "0", "--cpus", "2"],
            "A run needs 2 CPU, but the largest node of the cluster has",
        ),
        (["--gpus", "many"], "--gpus 'many': "),
        (["--partition", "gpu"], "The launcher ray has no --partition."),
        (["--devices", "cuda:0"], "--devices has no effect with the launcher ray."),
    ],
)
def test_what_a_cluster_cannot_hold_is_refused(ez, here, options, says):
    code, _, err = ez(*TWO, "--launcher", "ray", *options)
    assert code == 2
    assert says in err
