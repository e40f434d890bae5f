"""Targets against searches and inferences of one state at a time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ezcli.efficientzero import puct
from ezcli.efficientzero.components import planners_for, rules_for
from ezcli.efficientzero.inference import evaluate_states, search_states
from ezcli.efficientzero.lookahead import look_ahead
from ezcli.efficientzero.policy import mean_entropy
from ezcli.efficientzero.reanalyse import Reanalyser
from ezcli.efficientzero.search import puct_constants
from ezcli.efficientzero.searcher import Searcher
from tests.efficientzero.helpers import ACTIONS, Inline, filled_replay, opinionated, tiny
from tests.oracles import naive_gae_target, naive_prefix_target, naive_value_target

QUIET = (
    "search.root_exploration_fraction=0.0",
    "search.num_simulations=6",
    "loss.batch_size=10",
    "reanalyse.roots_per_search=7",
    "value.discount=0.9",
)
TIE = 12345
SEARCHED = {}  # what `Bench.search` found: every bench holds the same states and target network


@pytest.fixture(autouse=True)
def same_ties(monkeypatch):
    """Every search breaks its ties alike, so that a state's search is a function of the state."""
    monkeypatch.setattr(puct, "tie_seeds", lambda rng, batch: np.full(batch, TIE, np.int64))


class Bench:
    """A reanalyser over a filled replay, and the definitions over the same."""

    def __init__(self, *overrides, env_steps=160):
        self.config = tiny(*QUIET, *overrides)
        self.rules = rules_for(self.config)
        planner = planners_for(self.config, ACTIONS).targets
        self.replay, self.frames = filled_replay(self.config, env_steps)
        self.reanalyser = Reanalyser(self.config, self.rules, planner, self.replay, self.frames)
        self.constants = puct_constants(self.config, self.rules.prefix_horizon)
        self.target = Searcher(opinionated(self.config), "float32", "cpu")
        self.executor = Inline()

    def sample(self, batches=2, seed=0):
        rng = np.random.default_rng(seed)
        return self.replay.sample(self.config.loss.batch_size, np.full(batches, 0.4), rng)

    def targets(self, window, version=0, target=None, executor=None, seed=0, train_step=0):
        target = self.target if target is None else target
        executor = self.executor if executor is None else executor
        rng = np.random.default_rng(seed)
        pending = self.reanalyser.start(window, target, version, train_step, rng, executor)
        return self.reanalyser.finish(pending)

    def observation(self, row):
        return self.frames.observations(self.replay.stack_rows(np.array([row])))

    def search(self, row):
        """(policy, value) of one state, searched alone."""
        key = row, self.replay.arrays.state_id[row], self.constants
        if key not in SEARCHED:
            found = search_states(
                self.target.network,
                self.observation(row),
                self.constants,
                None,
                np.array([TIE]),
                "float32",
            )
            SEARCHED[key] = found.visits[0] / found.visits[0].sum(), found.value[0]
        return SEARCHED[key]

    def value(self, row):
        return evaluate_states(self.target.network, self.observation(row), "float32")[0]


def is_decision(window):
    return window.is_state & ~window.is_terminal


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.0, 0.33, 0.99, 1.0])
@pytest.mark.parametrize("memoise", ["true", "false"])
def test_policies_come_from_a_search_for_the_first_rows_of_each_batch(ratio, memoise):
    bench = Bench(f"reanalyse.ratio={ratio}", f"reanalyse.memoise={memoise}")
    window = bench.sample()
    targets, work = bench.targets(window)
    share = round(ratio * 10)
    known, asked = {}, 0
    np.testing.assert_array_equal(targets.has_policy, is_decision(window)[:, :6])
    assert not targets.has_policy.all()
    for n, row_policies in enumerate(targets.policy):
        for k, policy in enumerate(row_policies):
            row = window.rows[n, k]
            if not targets.has_policy[n, k]:
                continue
            if n % 10 < share:
                asked += 1
                known[row] = bench.search(row)[0] if row not in known else known[row]
                np.testing.assert_allclose(policy, known[row], atol=1e-6)
            else:
                np.testing.assert_array_equal(policy, bench.replay.arrays.policy[row])
    assert work.asked == asked
    assert work.searched == (len(known) if memoise == "true" else asked)


@pytest.mark.parametrize("source", ["network", "search"])
@pytest.mark.parametrize("bootstrap", ["true", "false"])
def test_a_value_lies_beyond_a_time_limit_if_the_settings_say_so(source, bootstrap):
    bench = Bench(f"value.value_source={source}", f"value.bootstrap_truncated={bootstrap}")
    window = bench.sample()
    targets, _ = bench.targets(window)
    steps, discount = bench.rules.td_steps(window.age), bench.config.value.discount
    truncated = {  # as `filled_replay` has it, from what the replay stores without the setting too
        row for row in window.rows.ravel() if bench.replay.is_truncated[row : row + 1].any()
    }
    assert bool(truncated) == (bootstrap == "true")
    num_truncated = num_terminal = 0
    for n, rows in enumerate(window.rows):
        end = int(window.is_state[n].sum()) - 1
        is_end = bench.replay.arrays.is_terminal[rows[end]]
        for k in range(min(end, 5) + 1):
            stop = min(k + steps[n], end)
            row, has_ended = rows[stop], is_end and stop == end
            if has_ended and row not in truncated:
                value, num_terminal = 0.0, num_terminal + 1
            else:
                value = bench.value(row) if source == "network" else bench.search(row)[1]
                num_truncated += has_ended
            rewards = window.rewards[n, k:stop].tolist()
            expected = sum(discount**i * r for i, r in enumerate(rewards))
            expected += discount ** (stop - k) * value
            assert targets.value[n, k] == pytest.approx(expected, rel=1e-3, abs=1e-3)
            assert targets.has_policy[n, k] == (not (is_end and k == end))
    assert num_terminal
    assert bool(num_truncated) == (bootstrap == "true")


@pytest.mark.parametrize("source", ["network", "search"])
@pytest.mark.parametrize("memoise", ["true", "false"])
@pytest.mark.parametrize("correction", ["true", "false"])
def test_values_are_bootstrapped_as_defined(source, memoise, correction):
    bench = Bench(
        f"value.value_source={source}",
        f"reanalyse.memoise={memoise}",
        f"components.off_policy_correction={correction}",
    )
    window = bench.sample()
    steps = bench.rules.td_steps(window.age)
    assert len(set(steps.tolist())) == (5 if correction == "true" else 1) or steps.min() < 5
    targets, _ = bench.targets(window)
    known = {}

    def value_of(row):
        if row not in known:
            known[row] = bench.value(row) if source == "network" else bench.search(row)[1]
        return known[row]

    for n in range(len(window.rows)):
        length = int(is_decision(window)[n].sum())  # actions left in the window
        values = [value_of(row) for row in window.rows[n, :length]]
        rewards = [*window.rewards[n].tolist(), 0.0][:length]  # the last is never looked at
        for k in range(6):
            expected = 0.0
            if k < length:
                expected = naive_value_target(rewards, values, k, int(steps[n]), 0.9)
            assert targets.value[n, k] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_a_terminal_position_is_worth_nothing_and_has_no_policy():
    bench = Bench()
    window = bench.sample(batches=6)
    targets, _ = bench.targets(window)
    past = ~window.is_state[:, :6] | window.is_terminal[:, :6]
    assert window.is_terminal[:, :6].any()
    assert not targets.value[past].any()
    assert not targets.has_policy[past].any()
    assert targets.has_policy[~past].all()


def decisions_of(bench, window, n, value_of):
    """Rewards and values of the decisions that are left in a window; a value is of a row."""
    length = int(is_decision(window)[n].sum())
    rewards = [*window.rewards[n].tolist(), 0.0][:length]
    return rewards, [value_of(row) for row in window.rows[n, :length]]


@pytest.mark.parametrize("source", ["network", "search"])
@pytest.mark.parametrize("memoise", ["true", "false"])
def test_values_of_searches_are_those_of_the_positions(source, memoise):
    """Whatever bootstraps returns: there are none."""
    bench = Bench(
        "value.target='search'", f"value.value_source={source}", f"reanalyse.memoise={memoise}"
    )
    window = bench.sample()
    targets, work = bench.targets(window)
    assert work.evaluated == 0
    ends = 0
    for n in range(len(window.rows)):
        _, values = decisions_of(bench, window, n, lambda row: bench.search(row)[1])
        expected = [*values, *[0.0] * 6][:6]
        ends += len(values) < 6
        np.testing.assert_allclose(targets.value[n], expected, rtol=1e-3, atol=1e-3)
    assert 0 < ends < len(window.rows)


def test_mixed_targets_switch_by_train_step_and_by_age():
    """Of 200 env_steps, each with a quarter of a train_step: at train_step 20, at age 50."""
    mixed = Bench("value.target='mixed'", "value.mixed_from=0.4", "value.mixed_newest=0.25")
    td, search = Bench(), Bench("value.target='search'")
    window = mixed.sample(batches=4)
    returns, searched = (bench.targets(window)[0].value for bench in (td, search))
    assert not np.isclose(returns, searched).all(1).any()
    before = mixed.targets(window, train_step=16)[0].value  # the last batch is of train_step 19
    np.testing.assert_array_equal(before, returns)
    crossing = mixed.targets(window, version=1, train_step=18)[0].value
    is_return = (np.arange(40) < 20) | (window.age < 50)
    assert 0 < is_return[20:].sum() < 20
    np.testing.assert_array_equal(crossing[is_return], returns[is_return])
    np.testing.assert_allclose(crossing[~is_return], searched[~is_return], rtol=1e-6)


def test_the_age_that_mixed_targets_switch_at_is_exact():
    config = tiny("value.target='mixed'", "value.mixed_from=0.0", "value.mixed_newest=0.1")
    window = Bench().sample()._replace(age=np.arange(11, 31))  # 20 of 200 env_steps
    sources = rules_for(config).value_rule.sources(window, np.zeros(20, np.int64))
    assert sources.by_search.tolist() == [age >= 20 for age in range(11, 31)]


def test_mixed_targets_need_no_search_beyond_those_for_policies():
    bench = Bench("value.target='mixed'", "value.mixed_newest=0.0", "reanalyse.ratio=1.0")
    targets, work = bench.targets(bench.sample(), train_step=10**6)
    assert work.evaluated == 0
    assert work.searched <= work.asked == targets.has_policy.sum()


@pytest.mark.parametrize("source", ["network", "search"])
@pytest.mark.parametrize("steps", [1, 3, 15])
def test_generalised_advantages_as_defined(source, steps):
    bench = Bench(
        "value.target='gae'",
        f"value.value_source={source}",
        f"value.gae_steps={steps}",
        "value.gae_lambda=0.7",
    )
    window = bench.sample()
    targets, _ = bench.targets(window)
    known, ends = {}, 0

    def value_of(row):
        if row not in known:
            known[row] = bench.value(row) if source == "network" else bench.search(row)[1]
        return known[row]

    for n in range(len(window.rows)):
        rewards, values = decisions_of(bench, window, n, value_of)
        ends += len(values) < 6
        for k in range(6):
            expected = naive_gae_target(rewards, values, k, steps, 0.9, 0.7)
            assert targets.value[n, k] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert 0 < ends < len(window.rows)


def test_generalised_advantages_beyond_a_time_limit():
    """The last state of a truncated episode has a value, and nothing follows it."""
    bench = Bench("value.target='gae'", "value.gae_steps=4", "value.bootstrap_truncated=true")
    window = bench.sample(batches=4)
    targets, _ = bench.targets(window)
    found = 0
    for n, rows in enumerate(window.rows):
        end = int(window.is_state[n].sum()) - 1
        if window.is_terminal[n].any() or end > 5:
            continue  # not truncated within the unroll
        found += 1
        value = bench.value(rows[end])
        assert targets.value[n, end] == pytest.approx(value, rel=1e-3, abs=1e-3)
        last, reward = bench.value(rows[end - 1]), window.rewards[n, end - 1]
        if end:
            expected = last + (reward + 0.9 * value - last)
            assert targets.value[n, end - 1] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert found


@pytest.mark.parametrize("prefix", ["true", "false"])
def test_prefixes_are_sums_of_the_windows_rewards(prefix):
    bench = Bench(f"components.value_prefix={prefix}", "search.prefix_horizon=3")
    window = bench.sample()
    targets, _ = bench.targets(window)
    assert targets.value_prefix.shape == (20, 5)
    for n, rewards in enumerate(window.rewards.tolist()):
        for k in range(5):
            expected = naive_prefix_target(rewards, k, 3 if prefix == "true" else 1)
            assert targets.value_prefix[n, k] == expected


def assert_same(one, other):
    for name, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("source", ["network", "search"])
def test_nothing_is_searched_twice_with_the_same_network(source):
    bench = Bench(f"value.value_source={source}")
    window = bench.sample()
    first, work = bench.targets(window, version=3)
    rows = set(window.rows[:, :6][is_decision(window)[:, :6]].tolist())
    assert work.searched == len(rows) if source == "network" else work.searched >= len(rows)
    bench.executor = Inline()
    again, work = bench.targets(window, version=3, seed=99)
    assert (work.searched, work.evaluated, bench.executor.tasks) == (0, 0, 0)
    assert np.isnan(work.depth)
    assert_same(first, again)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["network", "search"])
def test_a_new_version_forgets_all(source):
    bench = Bench(f"value.value_source={source}")
    window = bench.sample()
    before, first = bench.targets(window, version=0)
    network = opinionated(bench.config, seed=1)
    target = Searcher(network, "float32", "cpu")
    after, second = bench.targets(window, version=1, target=target)
    assert (second.searched, second.evaluated) == (first.searched, first.evaluated)
    fresh = Bench(f"value.value_source={source}")
    assert_same(after, fresh.targets(window, version=1, target=target)[0])
    assert not np.array_equal(before.policy, after.policy)
    assert not np.array_equal(before.value, after.value)


@pytest.mark.parametrize("source", ["network", "search"])
def test_a_row_with_a_new_state_is_searched_again(source):
    bench = Bench(f"value.value_source={source}")
    window = bench.sample()
    bench.targets(window)
    used = np.unique(window.rows[:, :6][is_decision(window)[:, :6]])
    changed = used[:3]
    bench.replay.arrays.state_id[changed] += 10**6  # as if the stream had come round
    bench.frames.frames[changed] = 255 - bench.frames.frames[changed]
    targets, work = bench.targets(window)
    assert work.searched == 3
    for n, k in zip(*np.nonzero(np.isin(window.rows[:, :6], changed)), strict=True):
        if targets.has_policy[n, k]:
            expected, _ = bench.search(window.rows[n, k])
            np.testing.assert_allclose(targets.policy[n, k], expected, atol=1e-6)


def test_a_state_that_was_evaluated_is_searched_when_its_policy_is_asked_for():
    """A network value in the memo is no search."""
    bench = Bench("reanalyse.ratio=0.0")
    window = bench.sample()
    _, work = bench.targets(window)
    assert (work.asked, work.searched) == (0, 0)
    assert work.evaluated > 0
    bench.reanalyser.settings = tiny(*QUIET, "reanalyse.ratio=1.0")
    targets, work = bench.targets(window)
    n, k = np.argwhere(targets.has_policy)[0]
    expected, _ = bench.search(window.rows[n, k])
    np.testing.assert_allclose(targets.policy[n, k], expected, atol=1e-6)
    assert work.searched == len(np.unique(window.rows[:, :6][is_decision(window)[:, :6]]))
    assert work.evaluated == 0


@pytest.mark.slow
@pytest.mark.parametrize("source", ["network", "search"])
def test_the_memo_changes_no_target_where_nothing_is_random(source):
    """Searched in other batches and at other times, a state gives the same."""
    on = Bench(f"value.value_source={source}", "reanalyse.memoise=true")
    off = Bench(f"value.value_source={source}", "reanalyse.memoise=false")
    on.targets(on.sample(seed=7), version=4)
    for seed in range(3):
        window = on.sample(seed=seed)
        one, work = on.targets(window, version=4)
        other, more = off.targets(window, version=4)
        assert work.searched < more.searched
        for name, a, b in zip(one._fields, one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_root_noise_reaches_the_searches():
    loud = Bench("search.root_exploration_fraction=1.0", "search.num_simulations=16")
    window = loud.sample()
    one, _ = loud.targets(window, version=0, seed=1)
    other, _ = loud.targets(window, version=1, seed=2)
    assert not np.array_equal(one.policy, other.policy)
    quiet = Bench("search.num_simulations=16")
    one, _ = quiet.targets(window, version=0, seed=1)
    other, _ = quiet.targets(window, version=1, seed=2)
    assert np.array_equal(one.policy, other.policy)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["network", "search"])
@pytest.mark.parametrize("memoise", ["true", "false"])
def test_threads_change_nothing(source, memoise, monkeypatch):
    monkeypatch.undo()  # ties and noise as in a run
    found = []
    for threads in (0, 2):
        bench = Bench(
            f"value.value_source={source}",
            f"reanalyse.memoise={memoise}",
            "search.root_exploration_fraction=0.25",
        )
        if threads:
            with ThreadPoolExecutor(threads) as executor:
                found.append(bench.targets(bench.sample(), executor=executor))
        else:
            found.append(bench.targets(bench.sample()))
    (one, work), (other, same_work) = found
    assert_same(one, other)
    assert work == same_work


def test_searches_are_cut_into_batches_of_fixed_size():
    bench = Bench()
    window = bench.sample()
    pending = bench.reanalyser.start(
        window, bench.target, 0, 0, np.random.default_rng(0), bench.executor
    )
    sizes = [len(search.result().visits) for search in pending.searches]
    assert sizes[:-1] == [7] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= 7
    assert sum(sizes) == len(pending.search_rows)
    bench.reanalyser.finish(pending)


def test_a_version_must_fit_its_tag():
    bench = Bench()
    with pytest.raises(ValueError, match="million"):
        bench.targets(bench.sample(), version=2**20)


def test_mean_entropy():
    policy = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    assert mean_entropy(policy) == pytest.approx((np.log(2) + 0 + np.log(3)) / 3)


def test_work_reports_depth_and_entropy():
    bench = Bench()
    targets, work = bench.targets(bench.sample())
    assert 1 <= work.depth <= 6
    assert work.entropy == pytest.approx(mean_entropy(targets.policy[targets.has_policy]))


@pytest.mark.parametrize("memoise", ["true", "false"])
def test_a_planner_without_policies_leaves_none_and_bootstraps_from_its_values(memoise):
    bench = Bench(
        'planning.targets="one-step"',
        'value.value_source="search"',
        "reanalyse.ratio=0.33",
        f"reanalyse.memoise={memoise}",
    )
    window = bench.sample()
    targets, work = bench.targets(window)
    assert not targets.has_policy.any()  # nor is a policy of acting one
    assert bench.replay.arrays.policy.any()
    assert (work.asked, work.evaluated, work.depth) == (0, 0, 1.0)
    assert np.isnan(work.entropy)
    steps, largest = bench.rules.td_steps(window.age), {}

    def largest_q(row):
        if row not in largest:
            found = look_ahead(bench.target.network, bench.observation(row), "float32")
            largest[row] = (found.reward + 0.9 * found.value).max()
        return largest[row]

    for n, rows in enumerate(window.rows):
        length = int(is_decision(window)[n].sum())
        values = [largest_q(row) for row in rows[:length]]
        rewards = [*window.rewards[n].tolist(), 0.0][:length]
        for k in range(min(length, 6)):
            expected = naive_value_target(rewards, values, k, int(steps[n]), 0.9)
            assert targets.value[n, k] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_what_was_acted_without_a_policy_has_no_policy_target():
    bench = Bench("reanalyse.ratio=0.3")
    window = bench.sample()
    bench.replay.arrays.policy[::2] = 0  # as of a planner that gives none
    targets, _ = bench.targets(window)
    rows = window.rows[:, :6]
    is_reanalysed = (np.arange(len(rows)) % 10 < 3)[:, None]
    expected = is_decision(window)[:, :6] & (is_reanalysed | (rows % 2 == 1))
    np.testing.assert_array_equal(targets.has_policy, expected)
    assert 0 < expected.sum() < is_decision(window)[:, :6].sum()
