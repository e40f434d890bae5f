"""The replay against the complete history, stored as lists of states."""

import numpy as np
import pytest

from ezcli.efficientzero.replay import Replay
from tests.efficientzero.helpers import filled_replay, tiny
from tests.oracles import (
    NaiveReplay,
    naive_importance,
    naive_probabilities,
    naive_value_target,
)

ACTIONS, ENVS, STACK = 3, 2, 4


def make(stream_rows=60, unroll_steps=3, td_steps=2, block=0):
    """A replay of two short streams, where one env_step of each makes a cycle."""
    config = tiny(
        f"acting.num_envs={ENVS}",
        "schedule.train_steps_per_env_step=2.5",
        f"replay.capacity={ENVS * stream_rows}",
        f"loss.unroll_steps={unroll_steps}",
        f"value.td_steps={td_steps}",
        f"replay.block_env_steps={block}",
    )
    replay = Replay(config, ACTIONS, STACK)
    assert replay.guard_rows == 4 + STACK
    lookahead = unroll_steps + td_steps
    naive = NaiveReplay(ENVS, stream_rows, replay.guard_rows, lookahead, block)
    return replay, naive


class Play:
    """Random operations on a replay and its oracle alike."""

    def __init__(self, seed, mean_length, **sizes):
        self.rng, self.mean_length = np.random.default_rng(seed), mean_length
        self.replay, self.naive = make(**sizes)
        self.policies = {}  # (env, number of the state) -> policy
        for env in range(ENVS):
            self.begin(env)

    def begin(self, env):
        row = self.replay.begin_episode(env)
        self.naive.begin_episode(env)
        self.check_row(env, row)

    def check_row(self, env, row):
        number = len(self.naive.streams[env]) - 1
        assert row == env * self.naive.stream_rows + number % self.naive.stream_rows
        assert row == self.replay.newest_row(env)

    def step(self, env=None, is_over=None):
        env = int(self.rng.integers(ENVS)) if env is None else env
        is_over = self.rng.random() < 1 / self.mean_length if is_over is None else is_over
        action, reward = int(self.rng.integers(ACTIONS)), float(self.rng.integers(-1, 2))
        policy = self.rng.dirichlet(np.ones(ACTIONS)).astype(np.float32)
        self.policies[env, self.naive.streams[env][-1].number] = policy
        row = self.replay.add(env, action, reward, policy, bool(is_over))
        self.naive.add(env, action, reward, bool(is_over))
        self.check_row(env, row)
        if is_over:
            self.begin(env)

    def update_some(self):
        """Priorities for a few rows, some of them twice, some not to be drawn any more."""
        rows = self.rng.integers(self.replay.rows, size=12)
        errors = self.rng.uniform(0, 3, 12)
        self.replay.update_priorities(rows, errors)
        states = {row: state for row, _, state in self.naive.sampleable()}
        for row, error in zip(rows.tolist(), errors.tolist(), strict=True):
            if row in states:
                states[row].weight = (error + 1e-6) ** 0.6

    def assert_same_weights(self):
        expected = np.zeros(self.replay.rows)
        for row, _, state in self.naive.sampleable():
            expected[row] = state.weight
        np.testing.assert_allclose(self.replay.arrays.weight, expected, rtol=1e-12)
        assert self.replay.num_sampleable == np.count_nonzero(expected)
        assert self.replay.env_steps == self.naive.env_steps
        assert self.replay.filled == self.naive.filled

    def row_of(self, env, state):
        return env * self.naive.stream_rows + state.number % self.naive.stream_rows


SIZES = [
    {"mean_length": 8, "unroll_steps": 3, "td_steps": 2},
    {"mean_length": 2, "unroll_steps": 3, "td_steps": 2},
    {"mean_length": 100, "unroll_steps": 3, "td_steps": 2},
    {"mean_length": 5, "unroll_steps": 1, "td_steps": 1, "stream_rows": 17},
    {"mean_length": 12, "unroll_steps": 5, "td_steps": 5, "stream_rows": 41},
    {"mean_length": 30, "unroll_steps": 3, "td_steps": 2, "block": 7},
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_what_may_be_drawn_and_its_priority_after_every_operation(seed, sizes):
    play = Play(seed, **sizes)
    for _ in range(250):
        play.step()
        if play.rng.random() < 0.3:
            play.update_some()
        play.assert_same_weights()
    assert min(len(stream) for stream in play.naive.streams) > play.naive.stream_rows  # wrapped


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("steps", [12, 60, 300])
def test_windows_are_what_happened_up_to_the_end_of_the_episode(steps, sizes):
    play = Play(3, **sizes)
    for _ in range(steps):
        play.step()
    found = play.naive.sampleable()
    if not found:
        pytest.skip("nothing may be drawn yet")
    rows = np.array([row for row, _, _ in found])
    weights = np.arange(len(rows), dtype=np.float32)
    window = play.replay.window(rows, weights, np.random.default_rng(0))
    unroll_steps, lookahead = play.replay.unroll_steps, play.naive.lookahead
    assert window.rows.shape == (len(rows), lookahead + 1)
    assert window.actions.shape == (len(rows), unroll_steps)
    assert window.rewards.shape == (len(rows), lookahead)
    np.testing.assert_array_equal(window.weights, weights)
    for n, (_, env, state) in enumerate(found):
        assert window.age[n] == play.naive.env_steps - state.collected_at
        for i in range(lookahead + 1):
            time = state.time + i
            exists = time < len(state.episode)
            at = state.episode[min(time, len(state.episode) - 1)]
            assert window.rows[n, i] == play.row_of(env, at)
            assert window.is_state[n, i] == exists
            assert window.is_terminal[n, i] == (exists and at.is_terminal)
            assert exists or at.is_terminal  # the window never reaches beyond what is recorded
            acts = exists and not at.is_terminal
            if i < lookahead:
                assert window.rewards[n, i] == (at.reward if acts else 0)
            if i < unroll_steps and acts:
                assert window.actions[n, i] == at.action
                policy = play.replay.arrays.policy[window.rows[n, i]]
                np.testing.assert_array_equal(policy, play.policies[env, at.number])


def test_actions_past_the_end_are_uniform():
    replay, _ = make()
    replay.begin_episode(0)
    row = replay.add(0, 2, 1.0, np.full(ACTIONS, 1 / 3), True) - 1
    window = replay.window(np.full(3000, row), np.ones(3000), np.random.default_rng(0))
    assert (window.actions[:, 0] == 2).all()
    for k in (1, 2):
        counts = np.bincount(window.actions[:, k], minlength=ACTIONS)
        assert (np.abs(counts - 1000) < 4 * np.sqrt(3000 * 2 / 9)).all()


@pytest.mark.parametrize("sizes", SIZES[:3], ids=str)
def test_stacks_repeat_the_first_frame_and_never_reach_into_another_episode(sizes):
    play = Play(4, **sizes)
    for _ in range(200):
        play.step()
        # All states that a stack is ever asked of: those to learn from, and the newest to act in.
        asked = [(env, state) for _, env, state in play.naive.sampleable()]
        asked += [(env, stream[-1]) for env, stream in enumerate(play.naive.streams)]
        rows = np.array([play.row_of(env, state) for env, state in asked])
        found = play.replay.stack_rows(rows)
        for (env, state), stack in zip(asked, found, strict=True):
            times = [max(0, state.time - back) for back in (3, 2, 1, 0)]
            assert stack.tolist() == [play.row_of(env, state.episode[t]) for t in times]
            oldest = state.episode[times[0]].number
            newest = len(play.naive.streams[env]) - 1
            assert newest - oldest < play.naive.stream_rows  # the frame has not been overwritten
    shape = play.replay.stack_rows(rows.reshape(-1, 1)).shape
    assert shape == (len(rows), 1, STACK)


def test_a_state_may_be_drawn_lookahead_steps_later():
    replay, naive = make()
    first = replay.begin_episode(0)
    for step in range(1, 9):
        replay.add(0, 0, 0.0, np.ones(ACTIONS), False)
        assert replay.num_sampleable == max(0, step - naive.lookahead + 1)
        assert (replay.arrays.weight[first] > 0) == (step >= naive.lookahead)


def test_a_block_may_be_drawn_when_the_next_one_is_full():
    replay, _ = make(block=10)
    first = replay.begin_episode(0)
    for step in range(1, 36):
        replay.add(0, 0, 0.0, np.ones(ACTIONS), False)
        drawable = {first + state for state in range(max(0, step // 10 - 1) * 10)}
        assert set(np.flatnonzero(replay.arrays.weight)) == drawable


def test_the_end_of_an_episode_makes_all_its_states_drawable_but_the_last():
    replay, _ = make()
    first = replay.begin_episode(0)
    for _ in range(2):
        replay.add(0, 0, 0.0, np.ones(ACTIONS), False)
    terminal = replay.add(0, 0, 0.0, np.ones(ACTIONS), True)
    assert np.flatnonzero(replay.arrays.weight).tolist() == [first, first + 1, first + 2]
    assert terminal == first + 3


def test_every_state_has_its_own_number():
    play = Play(0, mean_length=4)
    seen = {}
    for _ in range(300):
        play.step()
        for row, state_id in enumerate(play.replay.arrays.state_id.tolist()):
            seen.setdefault(state_id, set()).add(row)
    assert all(len(rows) == 1 for number, rows in seen.items() if number >= 0)
    assert len(seen) > 300


@pytest.mark.slow
def test_nothing_is_drawn_that_two_cycles_may_overwrite():
    """A batch is learnt from one cycle after it was drawn; episodes may be one step long."""
    play = Play(0, mean_length=3)
    per_env = 1
    for _ in range(200):
        drawn = {row: state for row, _, state in play.naive.sampleable()}
        rows = np.array(list(drawn), np.int64)
        before = play.replay.arrays.state_id[play.replay.stack_rows(rows)]
        for env in range(ENVS):
            for _ in range(2 * per_env):
                play.step(env, is_over=True)  # two states each: the most that can be written
        after = play.replay.arrays.state_id[play.replay.stack_rows(rows)]
        np.testing.assert_array_equal(before, after)
        for _ in range(4):
            play.step()


def test_the_last_of_several_priorities_of_a_row_wins():
    play = Play(0, mean_length=8)
    for _ in range(40):
        play.step()
    row = play.naive.sampleable()[0][0]
    play.replay.update_priorities(np.array([row, row, row]), np.array([3.0, 9.0, 0.5]))
    assert play.replay.arrays.weight[row] == pytest.approx((0.5 + 1e-6) ** 0.6)


def test_an_error_of_zero_stays_drawable():
    play = Play(0, mean_length=8)
    for _ in range(40):
        play.step()
    before = play.replay.num_sampleable
    rows = np.array([row for row, _, _ in play.naive.sampleable()])
    play.replay.update_priorities(rows, np.zeros(len(rows)))
    assert play.replay.num_sampleable == before


def prioritised(exponent=0.6):
    play = Play(1, mean_length=6)
    for _ in range(100):
        play.step()
    rows = np.array([row for row, _, _ in play.naive.sampleable()])
    errors = np.random.default_rng(2).exponential(size=len(rows))
    play.replay.update_priorities(rows, errors)
    priorities = (errors + 1e-6).tolist()
    return play.replay, rows, np.array(naive_probabilities(priorities, exponent))


def test_rows_are_drawn_as_often_as_the_definition_says():
    replay, rows, probabilities = prioritised()
    draws = 40_000
    window = replay.sample(draws, np.array([0.4]), np.random.default_rng(0))
    counts = np.bincount(window.rows[:, 0], minlength=replay.rows)
    assert counts.sum() == counts[rows].sum() == draws
    deviation = np.sqrt(draws * probabilities * (1 - probabilities))
    assert (np.abs(counts[rows] - draws * probabilities) <= 4 * deviation + 1).all()


def test_importance_weights_follow_their_formula_batch_by_batch():
    replay, rows, probabilities = prioritised()
    exponents, size = np.array([0.4, 0.7, 1.0]), 32
    window = replay.sample(size, exponents, np.random.default_rng(0))
    assert window.weights.dtype == np.float32
    place = {row: i for i, row in enumerate(rows.tolist())}
    for number, exponent in enumerate(exponents.tolist()):
        part = slice(number * size, (number + 1) * size)
        drawn = [place[row] for row in window.rows[part, 0].tolist()]
        expected = naive_importance(probabilities.tolist(), drawn, exponent)
        np.testing.assert_allclose(window.weights[part], expected, rtol=1e-5)
        assert window.weights[part].max() == 1


class Highest:
    """A generator whose throws round up to 1, the ends of what `sample` must bear."""

    def random(self, size):
        return np.ones(size)

    def integers(self, *args, size, **kwargs):
        return np.zeros(size, np.int64)


def test_the_highest_throw_draws_the_last_row_that_may_be_drawn():
    replay, rows, _ = prioritised()
    window = replay.sample(4, np.array([0.4]), Highest())
    assert window.rows[:, 0].tolist() == [rows[-1]] * 4


class Lowest(Highest):
    def random(self, size):
        return np.zeros(size)


def test_the_lowest_throw_draws_the_first_row_that_may_be_drawn():
    replay, rows, _ = prioritised()
    replay.arrays.weight[: rows[3]] = 0
    window = replay.sample(4, np.array([0.4]), Lowest())
    assert window.rows[:, 0].tolist() == [rows[3]] * 4


def test_the_same_stream_of_random_numbers_draws_the_same():
    replay, _, _ = prioritised()
    one, other = (
        replay.sample(16, np.array([0.4, 0.5]), np.random.default_rng(5)) for _ in range(2)
    )
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def weights_when_first_drawn(rule, exponent=0.6, least=1e-6):
    """Weights when two steps of look-ahead make them known, and their errors by definition."""
    config = tiny(
        "acting.num_envs=1",
        "loss.unroll_steps=1",
        "value.td_steps=2",
        "value.discount=0.5",
        f"replay.new_priority={rule}",
        f"replay.priority_exponent={exponent}",
        f"replay.min_priority={least}",
    )
    replay = Replay(config, ACTIONS, STACK)
    rows = [replay.begin_episode(0)]
    policy = np.full(ACTIONS, 1 / ACTIONS, np.float32)
    values, rewards = [4.0, 1.0, 8.0, 2.0], [1.0, 0.0, -1.0, 3.0]
    known = {}
    for step, (value, reward) in enumerate(zip(values, rewards, strict=True)):
        rows.append(replay.add(0, 0, reward, policy, step == 3, value=value))
        known |= {
            row: replay.arrays.weight[row]
            for row in rows
            if replay.arrays.weight[row] and row not in known
        }
    errors = [abs(v - naive_value_target(rewards, values, t, 2, 0.5)) for t, v in enumerate(values)]
    assert errors == [4 - (1 + 2), 0.5 + 1 - 0.5, 8 - 0.5, 1]
    return [known[row] for row in rows[:4]], [(error + least) ** exponent for error in errors]


def test_new_states_may_take_the_error_that_acting_made():
    for exponent, least in ((0.6, 1e-6), (1.0, 0.25)):
        found, own = weights_when_first_drawn("error", exponent, least)
        assert found == pytest.approx(own)


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0])
def test_priorities_have_the_exponent_of_the_settings(exponent):
    replay = filled_replay(tiny(f"replay.priority_exponent={exponent}"))[0]
    row = np.flatnonzero(replay.arrays.weight)[:1]
    replay.update_priorities(row, np.array([3.0]))
    assert replay.arrays.weight[row] == pytest.approx((3 + 1e-6) ** exponent)


def test_new_states_may_take_the_larger_of_that_and_the_largest():
    """Each with the largest of those that became known with it."""
    found, own = weights_when_first_drawn("max-error")
    first = max(1.0, own[0])
    assert found == pytest.approx([first, *[max(first, *own[1:])] * 3])
    assert weights_when_first_drawn("max")[0] == [1.0] * 4


def test_what_acting_said_is_part_of_the_state():
    config = tiny("acting.num_envs=1", "replay.new_priority=error")
    replay, other = (Replay(config, ACTIONS, STACK) for _ in range(2))
    row = replay.begin_episode(0)
    replay.add(0, 0, 0.0, np.full(ACTIONS, 1 / ACTIONS, np.float32), False, value=3.0)
    other.restore(replay.state())
    assert other.values[row] == replay.values[row] == 3.0
    assert "values" not in Replay(tiny(), ACTIONS, STACK).state()


def test_importance_weights_are_no_smaller_than_their_floor():
    config = tiny("replay.weight_floor=0.3")
    replay, free = filled_replay(config)[0], filled_replay(tiny())[0]
    exponents = np.full(2, 1.0)
    for each in (replay, free):
        rows = np.flatnonzero(each.arrays.weight)
        each.update_priorities(rows, np.linspace(0.01, 10, len(rows)))
    found, expected = (r.sample(50, exponents, np.random.default_rng(0)) for r in (replay, free))
    assert expected.weights.min() < 0.2
    np.testing.assert_array_equal(found.weights, np.maximum(expected.weights, np.float32(0.3)))
