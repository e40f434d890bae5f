"""The same config gives the same run, to the last bit."""

import subprocess
import sys

import pytest

from ezcli.runs.folder import RunFolder
from tests.runs.helpers import ROOM, TINY, atari, outcome, run, tiny


def test_the_same_seed_twice_gives_the_same_bytes(undisturbed, finished):
    assert outcome(finished) == undisturbed


@pytest.mark.slow
def test_another_seed_gives_another_run(undisturbed, tmp_path):
    other = outcome(run(tmp_path / "run", tiny("catch", "seed=2", "compute.threads=2")))
    assert all(other[part] != undisturbed[part] for part in undisturbed)


@pytest.mark.slow
def test_threads_do_not_matter(undisturbed, tmp_path):
    assert outcome(run(tmp_path / "run", tiny("catch", "compute.threads=2"))) == undisturbed


@pytest.mark.slow
def test_threads_do_not_matter_in_bfloat16_either(tmp_path):
    """Searches in one thread and the learner in another share nothing of autocast."""
    options = "compute.precision=bfloat16", "compute.threads="
    one, two, again = (
        outcome(run(tmp_path / name, tiny("catch", options[0], options[1] + threads)))
        for name, threads in (("one", "1"), ("two", "2"), ("again", "2"))
    )
    assert one == two == again


@pytest.mark.slow
def test_how_often_it_is_saved_does_not_matter(undisturbed, tmp_path):
    config = tiny("catch", "record.checkpoint_minutes=0")
    assert outcome(run(tmp_path / "run", config)) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_without_a_memo_too(threads, tmp_path):
    options = "reanalyse.memoise=false", f"compute.threads={threads}"
    outcomes = [outcome(run(tmp_path / name, tiny("catch", *options))) for name in "ab"]
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
def test_threads_do_not_matter_without_a_memo(tmp_path):
    one, two = (
        outcome(
            run(
                tmp_path / f"{threads}",
                tiny("catch", "reanalyse.memoise=false", f"compute.threads={threads}"),
            )
        )
        for threads in (1, 2)
    )
    assert one == two


@pytest.mark.slow
def test_threads_do_not_matter_to_a_gumbel_search(undisturbed, tmp_path):
    options = [f"planning.{purpose}=gumbel" for purpose in ("acting", "targets", "evaluation")]
    one, two = (
        outcome(run(tmp_path / threads, tiny("catch", *options, f"compute.threads={threads}")))
        for threads in "12"
    )
    assert one == two
    assert all(one[part] != undisturbed[part] for part in undisturbed)


@pytest.mark.slow
def test_atari(tmp_path):
    config = atari("pong", "compute.threads=1")
    assert outcome(run(tmp_path / "a", config)) == outcome(run(tmp_path / "b", config))
    other = outcome(run(tmp_path / "c", atari("pong", "seed=1")))
    assert other["weights"] != outcome(run(tmp_path / "a", config))["weights"]


@pytest.mark.gpu
def test_deterministic_on_a_gpu_gives_the_same_bytes(tmp_path):
    """In processes of their own: it must be asked for before the GPU is first used."""
    sets = [part for setting in (*TINY[1:], *ROOM["catch"]) for part in ("--set", setting)]
    command = [sys.executable, "-m", "ezcli", "train", "--preset", "smoke", "--env", "catch", *sets]
    for name in "ab":
        options = ["--device", "cuda", "--deterministic", "--name", name, "--quiet"]
        subprocess.run([*command, *options, "--runs-dir", tmp_path], check=True)
    assert outcome(RunFolder(tmp_path / "a")) == outcome(RunFolder(tmp_path / "b"))
