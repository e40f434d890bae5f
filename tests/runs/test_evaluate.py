"""The protocol of an evaluation, and statistics of its scores."""

import shutil
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.efficientzero.inference import SearchResult
from ezcli.efficientzero.modes import MODES
from ezcli.envs.atari_suite import ATARI
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.runs import checkpoint
from ezcli.runs import evaluate as module
from ezcli.runs.compute import resolve_compute
from ezcli.runs.evaluate import (
    Evaluated,
    EvaluationProtocol,
    Stopped,
    evaluate,
    final_protocol,
    interim_protocol,
    normalised,
    summary,
)
from ezcli.runs.evaluations import describe_evaluation, why_wrong
from ezcli.runs.folder import RunFolder
from ezcli.runs.scoring import evaluate_run, evaluation_line
from ezcli.runs.trainer import make_network
from tests.failing import fails
from tests.runs.helpers import Watcher, run, tiny


class Game:
    """Pays 7 a step; ends after as many steps as its seed says, at most 9."""

    made: ClassVar[list["Game"]] = []

    def __init__(self, settings, evaluation):
        assert evaluation
        self.spec = EnvSpec((1, 4, 3), ("a", "b", "c"), {})
        self.actions, self.seeds = [], []
        self.made.append(self)

    def reset(self, seed):
        self.seeds.append(seed)
        self.length = 1 + seed % 9
        return np.full(self.spec.frame_shape, 0, np.uint8)

    def step(self, action):
        self.actions.append(action)
        frame = np.full(self.spec.frame_shape, len(self.actions), np.uint8)
        lost_a_life = len(self.actions) == 1  # the agent's episode, not the game, ends
        return Step(frame, 7.0, lost_a_life, len(self.actions) == self.length)


@pytest.fixture
def searched(monkeypatch):
    """Games as above and a search that counts: what it was asked, and visits (1, 3, 3)."""
    asked = []

    def search(network, observations, constants, noise, ties, precision, simulate):
        asked.append((observations.numpy().copy(), constants, noise, ties, network.training))
        visits = np.tile(np.array([1, 3, 3], np.int32), (len(observations), 1))
        nothing = np.zeros(len(observations), np.float32)
        return SearchResult(
            visits, nothing, nothing, nothing.astype(np.int32), visits, visits, nothing
        )

    Game.made = []
    monkeypatch.setattr("ezcli.efficientzero.searcher.search_states", search)
    monkeypatch.setattr(module, "make_env", lambda settings, evaluation: Game(settings, evaluation))
    return asked


def play(config, protocol, should_stop=lambda: False, training=True):
    """Evaluates the first weights."""
    network = make_network(config, (1, 4, 3), 3).train(training)
    found = evaluate(network, config, resolve_compute(config.compute), protocol, should_stop)
    assert network.training is training
    return found


def test_how_far_an_evaluation_is_is_told_before_every_step(searched):
    config, told = tiny("catch"), []
    network = make_network(config, (1, 4, 3), 3)
    protocol = EvaluationProtocol(6, 100, seed=0, num_simulations=2)
    compute = resolve_compute(config.compute)
    evaluate(network, config, compute, protocol, tell=lambda *far: told.append(far))
    lengths = sorted(game.length for game in Game.made)
    overs = [sum(length <= step for length in lengths) for step in range(lengths[-1])]
    assert told == [(over, 6, step) for step, over in enumerate(overs)]


def test_greedy_raw_and_without_noise(searched):
    config = tiny("catch", "env.clip_rewards=true")
    found = play(config, EvaluationProtocol(6, 100, seed=0, num_simulations=2))
    lengths = [game.length for game in Game.made]
    assert len(set(lengths)) > 1
    assert found.env_steps == lengths  # a lost life ends nothing
    assert found.scores == [7.0 * length for length in lengths]
    assert all(set(game.actions) == {1} for game in Game.made)  # most visited, first of equals
    assert all(len(game.seeds) == 1 for game in Game.made)
    for _, constants, noise, _, training in searched:
        assert noise is None
        assert not training
        assert constants.num_simulations == config.search.num_simulations


def test_all_that_still_play_are_in_one_search(searched):
    play(tiny(), EvaluationProtocol(6, 100, seed=0, num_simulations=2))
    lengths = np.array([game.length for game in Game.made])
    assert [len(observations) for observations, *_ in searched] == [
        int((lengths > step).sum()) for step in range(lengths.max())
    ]


def test_frames_are_stacked_oldest_first(searched):
    play(tiny("catch", "env.frame_stack=3"), EvaluationProtocol(1, 100, seed=4, num_simulations=2))
    stacks = [observations[0, :, 0, 0].tolist() for observations, *_ in searched]
    assert stacks[:4] == [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3]][: len(stacks)]
    assert len(stacks) > 2


def test_the_cap_is_kept(searched):
    found = play(tiny(), EvaluationProtocol(6, 3, seed=0, num_simulations=2))
    assert found.env_steps == [min(game.length, 3) for game in Game.made]
    assert max(found.env_steps) == 3


def test_starts_differ_by_episode_by_protocol_and_by_run(searched):
    for seed, protocol_seed in [(0, 0), (0, 1), (1, 0)]:
        config = tiny("catch", f"seed={seed}")
        play(config, EvaluationProtocol(4, 1, seed=protocol_seed, num_simulations=2))
    seeds = [game.seeds[0] for game in Game.made]
    assert len(set(seeds)) == 12
    ties = np.concatenate([ties for *_, ties, _ in searched])
    assert len(set(ties.tolist())) == len(ties)


@pytest.mark.parametrize("training", [True, False])
def test_a_stop_ends_it_and_the_mode_comes_back(training, searched):
    with pytest.raises(Stopped):
        play(tiny(), EvaluationProtocol(2, 100, 0, 2), lambda: len(searched) == 1, training)
    config, protocol = tiny(), EvaluationProtocol(1, 9, 0, 2)
    network = make_network(config, (1, 4, 3), 3).train(training)
    with pytest.raises(Stopped):
        evaluate(network, config, resolve_compute(config.compute), protocol, lambda: True)
    assert network.training is training


def test_again_is_the_same_and_changes_no_weight(finished):
    config = finished.config()
    network = make_network(config, (1, 4, 3), 3)
    found, _ = checkpoint.newest(finished)
    checkpoint.restore_part("weights", network, found, finished)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    protocol = final_protocol(config, 5)
    one, two = (
        evaluate(network, config, resolve_compute(config.compute), protocol) for _ in range(2)
    )
    assert one == two
    assert set(one.scores) <= {-1.0, 1.0}
    assert one.env_steps == [3] * 5  # four rows
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_protocols():
    config = resolve(read_toml(preset_path("atari100k")))
    assert final_protocol(config) == EvaluationProtocol(32, 27_000, 0, 50)
    assert final_protocol(config, 4) == EvaluationProtocol(4, 27_000, 0, 50)
    assert interim_protocol(config, 10_000) == EvaluationProtocol(8, 3_000, 10_000, 50)


def test_a_protocol_keeps_the_changes_that_differ():
    config = resolve(read_toml(preset_path("atari100k")))
    asked = {"planning.evaluation": "gumbel", "search.num_simulations": 50}
    protocol = final_protocol(config, seed=3, changes=asked)
    changes = {"planning.evaluation": "gumbel"}  # 50 are the run's own
    assert protocol == EvaluationProtocol(32, 27_000, 3, 50, changes)
    plain = {"episodes": 32, "max_env_steps": 27_000, "seed": 0, "num_simulations": 50}
    assert final_protocol(config).table() == plain
    assert protocol.table() == plain | {"seed": 3, "changes": changes}
    fewer = final_protocol(config, changes={"search.num_simulations": 5})
    assert (fewer.num_simulations, fewer.changes) == (5, {"search.num_simulations": 5})


def test_an_evaluation_is_played_under_the_changes_of_its_protocol(searched):
    config = tiny()
    changes = {"search.num_simulations": 7}
    play(config, final_protocol(config, episodes=2, changes=changes))
    assert {constants.num_simulations for _, constants, *_ in searched} == {7}


def test_a_name_has_one_protocol(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    config = folder.config()
    seeded = final_protocol(config, seed=1)
    line = evaluate_run(folder, config, seeded, "mine")
    assert (line["kind"], line["name"], line["protocol"]["seed"]) == ("manual", "mine", 1)
    assert evaluate_run(folder, config, seeded, "mine") == line  # again is the same
    assert "manual score 'mine' at env_step 56: " in describe_evaluation(line, None)
    assert "2 episodes, seed 1)" in describe_evaluation(line, None)
    with fails("EZ-EVALUATION-NAME", "'mine'"):
        evaluate_run(folder, config, final_protocol(config, seed=2), "mine")
    for name in ("final", "latest", "interim", "manual", "a/b"):
        with fails("EZ-EVALUATION-NAME", repr(name)):
            evaluate_run(folder, config, seeded, name)
    assert len(folder.read("evaluations.jsonl")) == len(finished.read("evaluations.jsonl")) + 2


def test_summary_by_hand():
    assert summary([1.0, 2.0, 6.0, 11.0]) == {
        "mean": 5.0,
        "standard_error": pytest.approx((62 / 3 / 4) ** 0.5),  # 16 + 9 + 1 + 36 = 62
        "median": 4.0,
        "min": 1.0,
        "max": 11.0,
    }
    assert summary([3.0])["standard_error"] is None


def pong(cap):
    tables = read_toml(preset_path("smoke"))
    return resolve(tables, [f"env.evaluation_max_episode_steps={cap}"])


# Pong: random -20.7, human 14.6.
@pytest.mark.parametrize(
    ("cap", "protocol_cap", "lengths", "expected"),
    [
        (27_000, 27_000, [900, 27_000], 0.5),  # the benchmark's own cap may cut
        (30_000, 30_000, [900, 29_000], None),  # beyond the benchmark's cap
        (100, 100, [90, 99], 0.5),  # every game ended by itself
        (100, 100, [90, 100], None),
        (27_000, 3_000, [90, 3_000], None),
        (3_000, 27_000, [90, 3_000], None),
    ],
)
def test_human_normalised_only_for_whole_games(cap, protocol_cap, lengths, expected):
    found = Evaluated(EvaluationProtocol(2, protocol_cap, 0, 50), [-21.0, 14.9], lengths)
    assert normalised(pong(cap), found) == (
        None if expected is None else pytest.approx((-3.05 + 20.7) / (14.6 + 20.7))
    )
    assert expected is None or normalised(pong(cap), found) == pytest.approx(expected)


def test_no_human_score_where_none_is_known():
    found = Evaluated(EvaluationProtocol(1, 27_000, 0, 50), [1.0], [9])
    assert normalised(tiny(), found) is None
    unknown = resolve(read_toml(preset_path("smoke")), ["env.game=adventure"])
    assert normalised(unknown, found) is None


def test_a_line_in_a_sentence():
    found = Evaluated(EvaluationProtocol(2, 27_000, 0, 50), [-21.0, 14.9], [90, 80])
    line = evaluation_line(found, "final", 100_000, 120_000, pong(27_000))
    assert describe_evaluation(line, ATARI.benchmark.normalisation) == (
        "final score at env_step 100,000: -3.05 ± 17.95, human-normalised 0.500 "
        "(median -3.05, -21.00 to 14.90; 2 episodes)"
    )
    one = evaluation_line(
        Evaluated(EvaluationProtocol(1, 9, 0, 2), [1.0], [9]), "manual", 5, 6, tiny()
    )
    assert describe_evaluation(one, None) == (
        "manual score at env_step 5: 1.00 (median 1.00, 1.00 to 1.00; 1 episode)"
    )
    equal = Evaluated(EvaluationProtocol(3, 9, 0, 2), [1.0, 0.0, 1.0], [9, 9, 9])
    line = evaluation_line(equal, "manual", 5, 6, tiny())
    assert describe_evaluation(line, None).endswith("; 3 episodes, 2 distinct)")


def test_lines_of_a_run(finished):
    lines = finished.read("evaluations.jsonl")
    assert [(line["kind"], line["env_steps"], line["train_steps"]) for line in lines] == [
        ("interim", 48, 6),
        ("interim", 56, 12),
        ("final", 56, 14),
    ]
    for line in lines:
        assert line["protocol"]["episodes"] == len(line["scores"]) == 2
        assert line["mean"] == np.mean(line["scores"])
    assert [line["protocol"]["seed"] for line in lines] == [6, 12, 0]


def test_evaluating_a_run_by_hand_adds_a_line(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = folder.read("evaluations.jsonl")
    by_hand = evaluate_run(folder, folder.config())
    assert by_hand == before[-1] | {"kind": "manual"}  # the last weights, the final protocol
    more = evaluate_run(folder, folder.config(), final_protocol(folder.config(), 3))
    assert len(more["scores"]) == 3
    assert folder.read("evaluations.jsonl") == [*before, by_hand, more]


def test_a_run_without_a_checkpoint_has_nothing_to_evaluate(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create(tiny())
    with fails("EZ-RUN-NO-CHECKPOINT", "'run'"):
        evaluate_run(folder, tiny())


@pytest.mark.slow
def test_evaluations_on_the_way_change_nothing(tmp_path):
    with_some = run(tmp_path / "a", tiny(), Watcher())
    without = run(tmp_path / "b", tiny("catch", "evaluation.interval=0"), Watcher())
    one, two = (folder.read("metrics.jsonl") for folder in (with_some, without))
    measured = dict.fromkeys(MODES)  # as often as scores are
    assert [line | measured for line in one] == [line | measured for line in two]
    assert one != two


def test_a_run_on_some_levels_is_scored_on_unseen_ones_and_on_those(tmp_path):
    config = tiny("keydoor", "env.size=3", "env.levels=5", "evaluation.interval=0")
    folder = run(tmp_path / "levels", config, Watcher())
    final, seen = folder.read("evaluations.jsonl")
    assert (final["kind"], seen["kind"]) == ("final", "training-levels")
    assert seen["protocol"] == final["protocol"] | {
        "changes": {"env.evaluation_levels": "training"}
    }
    assert [why_wrong(line) for line in (final, seen)] == ["", ""]
    assert "env.evaluation_levels=training" in describe_evaluation(seen, None)


class StopsAfterTheFinalScore(Watcher):
    """Asks the run to stop as soon as its final score is said."""

    def say(self, text):
        super().say(text)
        if text.startswith("final score"):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_run_that_is_stopped_between_its_last_evaluations_plays_each_once(tmp_path):
    config = tiny("keydoor", "env.size=3", "env.levels=5", "evaluation.interval=0")
    whole = run(tmp_path / "whole", config, Watcher()).read("evaluations.jsonl")
    folder = run(tmp_path / "stopped", config, StopsAfterTheFinalScore())
    assert folder.read("evaluations.jsonl") == whole[:1]
    run(folder.path, config, Watcher())
    assert folder.read("evaluations.jsonl") == whole
