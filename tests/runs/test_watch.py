"""A watched game equals the evaluated one, and thoughts equal the results of the search."""

import numpy as np
import pytest
import torch

from ezcli.efficientzero.inference import search_states
from ezcli.efficientzero.planner import Thought
from ezcli.efficientzero.puct import Puct
from ezcli.envs.catch import Catch
from ezcli.envs.make import make_env
from ezcli.runs.agent import load_agent
from ezcli.runs.evaluate import EvaluationProtocol, evaluate
from ezcli.runs.folder import RunFolder
from ezcli.runs.trainer import make_network
from ezcli.runs.watch import play
from tests.failing import fails
from tests.runs.helpers import tiny

SEEDS = range(4)


@pytest.fixture(scope="module")
def agent(finished):
    return load_agent(finished, finished.config())


def plain(moment):
    """A moment as values that can be compared."""
    thought = moment.thought
    if thought is not None:
        arrays = {"visits": thought.visits, "policy": thought.policy, "q": thought.q}
        known = {name: array.tolist() for name, array in arrays.items() if array is not None}
        thought = thought._replace(**known, tree=None)
    return moment._replace(frame=moment.frame.tolist(), thought=thought)


@pytest.fixture
def played(monkeypatch):
    """What happens in games of catch: the seeds of their starts and the actions."""
    noted, reset, step = [], Catch.reset, Catch.step

    def noted_reset(self, seed):
        noted.append(("start", seed))
        return reset(self, seed)

    def noted_step(self, action):
        noted.append(("action", action))
        return step(self, action)

    monkeypatch.setattr(Catch, "reset", noted_reset)
    monkeypatch.setattr(Catch, "step", noted_step)
    return noted


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_the_game_of_an_evaluation_of_one_episode(seed, agent, finished, played):
    config = finished.config()
    *_, last = play(agent, config, seed, 100)
    watched = played.copy()
    found = evaluate(agent.network, config, agent.compute, EvaluationProtocol(1, 100, seed, 2))
    assert watched == played[len(watched) :]
    assert found.scores == [last.score]
    assert found.env_steps == [last.env_step]


def test_the_same_seed_is_the_same_game_and_another_seed_another(agent, finished):
    games = [
        [plain(moment) for moment in play(agent, finished.config(), seed, 100)]
        for seed in (0, 0, *SEEDS)
    ]
    assert games[0] == games[1]
    assert any(game != games[0] for game in games)


def test_playing_the_chosen_actions_again_gives_the_same_frames_and_score(agent, finished, played):
    config = finished.config()
    moments = list(play(agent, config, 3, 100))
    _, start = played[0]
    game = make_env(config.env, evaluation=True)
    frame, score = game.reset(start), 0.0
    for env_step, moment in enumerate(moments):
        np.testing.assert_array_equal(moment.frame, frame)
        assert (moment.env_step, moment.score) == (env_step, score)
        assert (moment.thought is None) == (moment is moments[-1]) == (moment.ending is not None)
        if moment.thought is not None:
            step = game.step(moment.thought.action)
            frame, score = step.frame, score + step.reward
            assert moments[env_step + 1].reward == step.reward
    assert step.is_game_over
    assert moments[-1].ending == "over"


def test_endings(agent, finished):
    config = finished.config()
    own_cap, own_end = (tiny("catch", f"env.evaluation_max_episode_steps={n}") for n in (2, 3))
    asked = []

    def stop():
        asked.append(True)
        return len(asked) == 2

    games = {
        "over": play(agent, config, 0, 3),  # four rows: over at the cap, but by itself
        "cut": play(agent, config, 0, 2),
        "stopped": play(agent, config, 0, 100, stop),
    }
    ends = {name: list(game)[-1] for name, game in games.items()}
    assert {name: end.ending for name, end in ends.items()} == {name: name for name in ends}
    assert [end.env_step for end in ends.values()] == [3, 2, 1]
    assert list(play(agent, own_cap, 0, 100))[-1].ending == "cut"
    assert list(play(agent, own_end, 0, 100))[-1].ending == "over"


def test_a_stop_at_the_start_still_shows_it(agent, finished):
    (moment,) = play(agent, finished.config(), 0, 100, lambda: True)
    assert (moment.env_step, moment.ending) == (0, "stopped")


@pytest.fixture
def asked(monkeypatch):
    """What the planner was asked to think about, and what it then thought."""
    noted, thinking = [], Puct.think

    def think(*given):
        noted.append((given, thinking(*given)))
        return noted[-1][1]

    monkeypatch.setattr(Puct, "think", think)
    return noted


def test_a_thought_is_what_a_search_finds(agent, finished, asked):
    list(play(agent, finished.config(), 1, 100))
    assert len(asked) == 3
    for (planner, frozen, observations, draws), thought in asked:
        assert draws.noise is None
        constants, ties = planner.constants, draws.ties
        found = search_states(frozen.network, observations, constants, None, ties, "float32")
        assert thought.visits.tolist() == found.visits[0].tolist()
        assert thought.visits.sum() == constants.num_simulations == 2
        assert thought.action == found.visits[0].argmax() == thought.best_path[0].action
        assert np.float32(thought.value) == found.value[0]
        assert thought.network_value == found.network_value[0]
        assert thought.depth == found.depth[0] >= len(thought.best_path)
        assert thought.policy.sum() == pytest.approx(1)


def test_frames_are_stacked_as_in_an_evaluation(agent, monkeypatch):
    config, seen = tiny("catch", "env.frame_stack=2"), []
    thought = Thought(0, np.ones(3), np.ones(3), 0.0, 0.0, 1, ())

    def think(planner, network, observations, draws):
        seen.append(observations[0].numpy())
        return thought

    monkeypatch.setattr(Puct, "think", think)
    moments = list(play(agent, config, 0, 100))
    frames = [moments[0].frame, *(moment.frame for moment in moments[:-1])]
    for observation, older, newer in zip(seen, frames[:-1], frames[1:], strict=True):
        np.testing.assert_array_equal(observation, np.concatenate([older, newer]))


def test_the_horizon_is_that_of_the_run(agent, finished, asked):
    for chosen in (finished.config(), tiny("catch", "components.value_prefix=false")):
        list(play(agent, chosen, 0, 1))
    assert [given[0].constants.prefix_horizon for given, _ in asked] == [5, 1]


# ------------------------------------------------------------------ the agent


def test_an_agent_is_the_newest_checkpoint(agent, finished):
    assert (agent.env_steps, agent.train_steps) == (56, 14)
    assert agent.spec.action_names == ("stay", "left", "right")
    assert not agent.network.training


def test_a_run_without_a_checkpoint_has_no_agent(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create(tiny())
    with fails("EZ-RUN-NO-CHECKPOINT", "'run'"):
        load_agent(folder, tiny())


def test_a_network_with_a_decoder_says_which_frame_it_expects(agent, finished):
    assert all(moment.expected is None for moment in play(agent, finished.config(), 0, 100))
    config = tiny("catch", "loss.auxiliary=reconstruction")
    network = make_network(config, agent.spec.frame_shape, len(agent.spec.action_names)).eval()
    first, *others = play(agent._replace(network=network), config, 0, 100)
    assert first.expected is None
    assert others
    before = first
    observation = np.repeat(first.frame, config.env.frame_stack, axis=0)
    for moment in others:
        with torch.no_grad():
            seen = torch.from_numpy(observation)[None].float() / 255
            latent, prefix, *_ = network.initial_inference(seen)
            action = torch.tensor([before.thought.action])
            following = network.dynamics(latent, prefix, action, 0)[0]
            pixels = 255 * network.decoder(following)[0].clamp(0, 1)
        assert moment.expected.dtype == np.uint8
        assert moment.expected.shape == moment.frame.shape
        assert np.abs(moment.expected - pixels.numpy()).max() < 0.51
        observation = np.concatenate([observation[len(moment.frame) :], moment.frame])
        before = moment
