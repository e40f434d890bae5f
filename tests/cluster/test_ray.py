"""Studies on a real Ray cluster of two nodes on this machine: what dies there goes on."""

from pathlib import Path

import pytest

from ezcli.experiments.launchers.ray import RayLauncher
from tests.cluster.test_slurm import GAME, TWO, attempts, results, undisturbed

__all__ = ["undisturbed"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
WHERE = ["--launcher", "ray", "--gpus", "0", "--cpus", "1"]


class Nodes:
    """A cluster whose nodes hold one run each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]

    def fail(self):
        """One node is gone at once, with all of its processes; another takes its place."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)
        self.nodes.append(self.cluster.add_node(num_cpus=1))


@pytest.fixture(scope="module")
def nodes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
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


def has_saved(here):
    return len(list(here.glob("runs/*/checkpoints/step-*/manifest.json"))) >= 2


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

    meanwhile(lambda _: has_saved(here), fail)
    code, out, err = ez(*TWO, *WHERE)
    assert code == 0, out + err
    assert "its node failed; going on." in out
    assert results(here / "runs") == undisturbed
