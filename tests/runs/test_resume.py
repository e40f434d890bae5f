"""Train 40 = train 20 + resume 20, to the last bit, wherever and however a run was stopped."""

import json
import shutil
import signal
from typing import get_args

import pytest

from ezcli.efficientzero.network_settings import NormName
from ezcli.runs.evaluate import final_protocol
from ezcli.runs.folder import RunFolder
from ezcli.runs.scoring import evaluate_run
from ezcli.runs.train import train
from tests.failing import fails
from tests.runs.helpers import EVENTS, Watcher, atari, contents, interrupted, outcome, run, tiny

WRAPPING = "replay.capacity=52"  # 26 states of each stream; a tiny run writes more than 30


# 1: random play; 3: targets drawn ahead, nothing learnt; 8: only learning is left (below);
# 6 and 9: an interim evaluation is due; 10: the final one is.
@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 3])
def test_stopped_anywhere(stop, undisturbed, tmp_path):
    assert interrupted(tmp_path / "run", tiny(), stop) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("stop", [2, 4, 5, 6, 7, 8, 9, 10])
def test_stopped_anywhere_else(stop, undisturbed, tmp_path):
    assert interrupted(tmp_path / "run", tiny(), stop) == undisturbed


@pytest.mark.slow
def test_stopped_after_every_event(undisturbed, tmp_path):
    assert interrupted(tmp_path / "run", tiny(), *[1] * EVENTS) == undisturbed


@pytest.mark.slow
def test_with_a_replay_that_overwrites_its_past(tmp_path):
    config = tiny("catch", WRAPPING, "record.checkpoint_minutes=0")
    whole = outcome(run(tmp_path / "whole", config))
    assert interrupted(tmp_path / "parts", config, 7) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("keydoor",),
        ("keydoor", WRAPPING),
        ("catch", "reanalyse.memoise=false"),
        ("catch", "compute.threads=2"),
        ("catch", "value.value_source='search'"),
        ("catch", "optimiser.name='adam'"),
        ("catch", "loss.auxiliary=spr"),
        ("catch", "loss.auxiliary=reconstruction"),
        (
            "catch",
            "planning.acting='gumbel'",
            "planning.targets='gumbel'",
            "value.target='mixed'",
            "replay.new_priority='error'",
            "acting.random_phase=false",
            "network.action_embedding=3",
            "network.head_activation='elu'",
        ),
        ("catch", "components.consistency=false", "components.value_prefix=false"),
    ],
    ids="-".join,
)
def test_with_other_settings(options, tmp_path):
    config = tiny(*options)
    whole = outcome(run(tmp_path / "whole", config))
    assert interrupted(tmp_path / "parts", config, 4, 4) == whole


@pytest.mark.slow
def test_a_game_with_lives(tmp_path):
    config = atari("breakout", "env.max_episode_steps=45")
    whole = outcome(run(tmp_path / "whole", config))
    assert interrupted(tmp_path / "parts", config, 3, 4, 3) == whole


@pytest.mark.slow
def test_a_signal_while_loading(undisturbed, tmp_path):
    folder = RunFolder(tmp_path / "run")
    watcher = Watcher(during="Loading")
    assert train(tiny(), folder, watcher) is signal.SIGINT
    assert train(tiny(), folder, Watcher()) is None
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_a_signal_during_the_final_evaluation(undisturbed, tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert train(tiny(), folder, Watcher(during="Evaluating", number=signal.SIGTERM))
    kinds = [line["kind"] for line in folder.read("evaluations.jsonl")]
    assert "final" not in kinds
    last = Watcher()
    assert train(tiny(), folder, last) is None
    assert last.events == []
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_a_signal_after_the_end_stops_nothing(monkeypatch, tmp_path):
    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr(
        "ezcli.runs.train.Trackers.close", lambda _trackers: signal.raise_signal(signal.SIGTERM)
    )
    assert train(tiny(), folder, Watcher()) is None
    assert folder.read_info()["status"] == "finished"


def test_a_stop_gives_the_signals_back(finished, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    shutil.copytree(finished.path, tmp_path / "run")
    assert train(tiny(), RunFolder(tmp_path / "run"), Watcher()) is None
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_run_says_so_and_stays_as_it_is(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    before, watcher = contents(path), Watcher()
    run(path, tiny(), watcher, origin={"preset": "other"})
    assert watcher.said == ["run is already finished."]
    assert contents(path) == before


@pytest.mark.parametrize("is_finished", [True, False])
def test_another_config_is_refused(is_finished, finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    if not is_finished:
        RunFolder(path).update_info(status="interrupted")
    before = contents(path)
    with fails("EZ-RUN-OTHER-CONFIG", "search.num_simulations: 2 there, 3 now"):
        run(path, tiny("catch", "search.num_simulations=3", "seed=0"))
    assert contents(path) == before


def test_other_compute_and_records_are_not_another_config(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    run(path, tiny("catch", "compute.threads=2", "record.checkpoint_minutes=3"))


@pytest.mark.slow
def test_a_second_process_is_refused(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    with RunFolder(path).lock(), fails("EZ-RUN-BUSY", "'run'"):
        run(path, tiny())
    run(path, tiny())  # the lock is gone with its holder


@pytest.mark.slow
def test_lines_after_the_checkpoint_are_dropped(stopped, undisturbed, tmp_path):
    """As after a crash between two checkpoints; the 6th event's interim evaluation is due."""
    path = tmp_path / "run"
    shutil.copytree(stopped.path, path)
    folder = RunFolder(path)
    line = folder.read("metrics.jsonl")[-1]
    folder.append("metrics.jsonl", line | {"train_steps": 9, "loss": 99.0})
    folder.append("evaluations.jsonl", {"kind": "interim", "env_steps": 56, "train_steps": 6})
    folder.append("evaluations.jsonl", {"kind": "manual", "env_steps": 56, "train_steps": 12})
    with (path / "metrics.jsonl").open("a") as torn:
        torn.write('{"env_steps": 1')
    run(path, tiny())
    kinds = [line["kind"] for line in folder.read("evaluations.jsonl")]
    assert kinds == ["manual", "interim", "interim", "final"]  # one played by hand stays
    folder.keep_lines("evaluations.jsonl", 0, lambda line: line["kind"] != "manual")
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_checkpoints_that_were_taken_away_are_asked_for(stopped, undisturbed, tmp_path):
    """Starting anew would empty the run's files."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(stopped.path, folder.path)
    folder.checkpoints.rename(tmp_path / "elsewhere")
    before = contents(folder.path)
    with fails("EZ-CHECKPOINT-GONE", "'run'", str(folder.checkpoints)):
        run(folder.path, tiny())
    after = contents(folder.path)
    assert {name: after[name] for name in before if name not in ("run.json", ".lock")} == {
        name: before[name] for name in before if name not in ("run.json", ".lock")
    }
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    (tmp_path / "elsewhere").rename(folder.checkpoints)
    run(folder.path, tiny())
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_scores_asked_for_by_hand_in_between_change_nothing(undisturbed, tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert train(tiny(), folder, Watcher(6))
    manual = evaluate_run(folder, tiny(), final_protocol(tiny(), 3))
    assert train(tiny(), folder, Watcher()) is None
    lines = folder.read("evaluations.jsonl")
    assert [line for line in lines if line["kind"] == "manual"] == [manual]
    others = [json.dumps(line) + "\n" for line in lines if line["kind"] != "manual"]
    found = outcome(folder) | {"evaluations.jsonl": "".join(others).encode()}
    assert found == undisturbed


def test_values_beyond_a_time_limit_are_kept_for_whoever_goes_on(tmp_path):
    settings = ("keydoor", "env.max_episode_steps=4", "value.bootstrap_truncated=true")
    whole = run(tmp_path / "whole", tiny(*settings))
    run(tmp_path / "cut", tiny(*settings), Watcher(stop_after=6))
    assert outcome(run(tmp_path / "cut", tiny(*settings))) == outcome(whole)
    without = run(tmp_path / "without", tiny(*settings[:-1]))
    assert outcome(without) != outcome(whole)


@pytest.mark.slow
@pytest.mark.parametrize("norm", [norm for norm in get_args(NormName) if norm != "batch"])
def test_statistics_of_every_norm_are_resumed(norm, tmp_path):
    config = tiny("catch", f"network.norm={norm}")
    whole = outcome(run(tmp_path / "whole", config))
    assert interrupted(tmp_path / "parts", config, 3, 4) == whole
