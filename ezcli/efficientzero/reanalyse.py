"""Targets for sampled windows: values and policies recomputed by the target network.

Batches are drawn for several train_steps at once, and the same state is often drawn repeatedly
while one target network is in use. So each state is evaluated and searched once per target network
and cached (`memoise`). Without the cache each window is searched anew, which is the reference for
tests of the cache. Shapes as in `batch`; n windows, R rows.
"""

from concurrent.futures import Executor, Future
from typing import NamedTuple

import numpy as np

from ezcli.efficientzero.batch import Targets, Window
from ezcli.efficientzero.components import Rules
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.planner import Draws, Plan, Planner
from ezcli.efficientzero.policy import mean_entropy
from ezcli.efficientzero.replay import ROUNDED_ONE, Replay
from ezcli.efficientzero.searcher import Searcher
from ezcli.efficientzero.targets import Sources
from ezcli.efficientzero.value_prefix import prefix_targets
from ezcli.state import Layout, State, read_arrays


class TargetCache(NamedTuple):
    """The target network's last result for each row, tagged with its state and network.

    A tag is the number of the state plus 2**40 times that of the target network.
    """

    policy: np.ndarray  # [R, A] float32, visit distribution
    search_value: np.ndarray  # [R] float32
    network_value: np.ndarray  # [R] float32
    searched: np.ndarray  # [R] int64, tag of the search; -1 if none
    evaluated: np.ndarray  # [R] int64, tag of the network value; -1 if none


class Work(NamedTuple):
    """Amount of work of a draw."""

    asked: int  # positions that needed a search
    searched: int  # states searched now; others come from the cache
    evaluated: int  # states evaluated without a search
    depth: float  # mean depth of the deepest node over searches, env_steps; NaN without searches
    entropy: float  # mean entropy of the policies used, nats; NaN without policies


class Pending(NamedTuple):
    """Searches in progress for one draw of windows."""

    window: Window
    sources: Sources  # sources of the values in targets
    policy_rows: np.ndarray  # rows whose search gives a policy target, in order of windows
    value_rows: np.ndarray  # [n, M] rows whose values are used in value targets
    search_rows: np.ndarray  # rows searched now
    evaluate_rows: np.ndarray  # rows evaluated now
    searches: list[Future[Plan]]
    evaluations: list[Future[np.ndarray]]


class Reanalyser:
    """Makes targets with one target network at a time.

    `start` hands the searches to an executor and returns; `finish` waits for them. The caller may
    train between the two: nothing here writes data that a train_step reads.
    """

    def __init__(
        self,
        settings: Hyperparameters,
        rules: Rules,
        planner: Planner,
        replay: Replay,
        frames: FrameStore,
    ) -> None:
        rows, num_actions = replay.arrays.policy.shape
        self.settings, self.rules, self.planner = settings, rules, planner
        self.replay, self.frames = replay, frames
        self.cache = TargetCache(
            policy=np.zeros((rows, num_actions), np.float32),
            search_value=np.zeros(rows, np.float32),
            network_value=np.zeros(rows, np.float32),
            searched=np.full(rows, -1, np.int64),
            evaluated=np.full(rows, -1, np.int64),
        )

    def state(self) -> State:
        """The cache."""
        return self.cache._asdict()

    def restore(self, state: State) -> None:
        """Raises CheckpointError: other arrays, or a value out of range."""
        ranges = {"policy": (0, ROUNDED_ONE), "searched": (-1,), "evaluated": (-1,)}
        own = self.cache._asdict()
        layouts = {name: Layout.of(own[name], *ranges.get(name, ())) for name in own}
        for name, array in read_arrays(layouts, state).items():
            own[name][...] = array

    def start(
        self,
        window: Window,
        target: Searcher,
        version: int,
        train_step: int,
        rng: np.random.Generator,
        executor: Executor,
    ) -> Pending:
        """Starts the searches that the targets of `window` need.

        Args:
          window: positions of whole batches, one after the other.
          target: searcher with the target network; it must not change before `finish`.
          version: number of the target network; cached results of others are not used.
          train_step: train_step of the first batch, counted from 0.
          rng: for the plans.
          executor: runs the searches.
        """
        if version >= 2**20:
            raise ValueError("more than a million target networks")
        tags = (np.int64(version) << 40) | self.replay.arrays.state_id
        has_value = window.is_state & ~window.is_terminal
        policy_rows = window.rows[self._is_reanalysed(window)]
        train_steps = train_step + np.arange(len(window.rows)) // self.settings.loss.batch_size
        sources = self.rules.value_rule.sources(window, train_steps)
        value_rows = np.take_along_axis(window.rows, sources.positions, 1)
        is_needed = np.take_along_axis(has_value, sources.positions, 1)
        by_search = sources.by_search[:, None]
        search_rows = asked = np.concatenate([policy_rows, value_rows[is_needed & by_search]])
        if self.settings.reanalyse.memoise:
            search_rows = np.unique(asked[self.cache.searched[asked] != tags[asked]])
        evaluate_rows = np.unique(value_rows[is_needed & ~by_search])
        known = self.cache.evaluated[evaluate_rows] == tags[evaluate_rows]
        evaluate_rows = np.setdiff1d(evaluate_rows[~known], search_rows)
        self.cache.searched[search_rows] = tags[search_rows]
        self.cache.evaluated[search_rows] = tags[search_rows]
        self.cache.evaluated[evaluate_rows] = tags[evaluate_rows]
        draws = self.planner.draws(rng, len(search_rows), explores=True)
        size = self.settings.reanalyse.roots_per_search
        pieces = [slice(i, i + size) for i in range(0, len(search_rows), size)]
        return Pending(
            window,
            sources,
            policy_rows,
            value_rows,
            search_rows,
            evaluate_rows,
            searches=[
                executor.submit(self._plan, target, search_rows[i], draws.part(i)) for i in pieces
            ],
            evaluations=[
                executor.submit(self._evaluate, target, evaluate_rows[i : i + size])
                for i in range(0, len(evaluate_rows), size)
            ],
        )

    def finish(self, pending: Pending) -> tuple[Targets, Work]:
        """Waits for the searches, and computes the targets."""
        window, cache, rule = pending.window, self.cache, self.rules.value_rule
        results = [search.result() for search in pending.searches]
        fresh = np.empty((0, cache.policy.shape[1]), np.float32)
        if results:
            rows = pending.search_rows
            fresh = np.concatenate([result.policy for result in results])
            cache.policy[rows] = fresh
            cache.search_value[rows] = np.concatenate([result.value for result in results])
            cache.network_value[rows] = np.concatenate([result.network_value for result in results])
        if pending.evaluations:
            found = [evaluation.result() for evaluation in pending.evaluations]
            cache.network_value[pending.evaluate_rows] = np.concatenate(found)
        depths = [result.depth for result in results]

        sources, rows = pending.sources, pending.value_rows
        has_value = np.take_along_axis(window.is_state & ~window.is_terminal, sources.positions, 1)
        by_search = sources.by_search[:, None]
        values = np.where(by_search, cache.search_value[rows], cache.network_value[rows])
        positions = self.settings.loss.unroll_steps + 1
        policy = self.replay.arrays.policy[window.rows[:, :positions]]
        is_reanalysed = self._is_reanalysed(window)[:, :positions]
        if self.settings.reanalyse.memoise:
            policy[is_reanalysed] = cache.policy[pending.policy_rows]
        else:
            policy[is_reanalysed] = fresh[: len(pending.policy_rows)]
        # With a planner that gives no policies, policies of the acting search must not become
        # targets. A planner that acts without policies stores zeros.
        has_policy = window.is_state[:, 1 : positions + 1] & policy.any(2)
        targets = Targets(
            value_prefix=prefix_targets(
                window.rewards[:, : positions - 1], self.rules.prefix_horizon
            ),
            value=rule.targets(window, sources, np.where(has_value, values, 0)),
            policy=policy,
            has_policy=has_policy & self.planner.gives_policies,
        )
        work = Work(
            asked=len(pending.policy_rows),
            searched=len(pending.search_rows),
            evaluated=len(pending.evaluate_rows),
            depth=float(np.concatenate(depths).mean()) if depths else float("nan"),
            entropy=mean_entropy(policy[targets.has_policy]),
        )
        return targets, work

    def _is_reanalysed(self, window: Window) -> np.ndarray:
        """[n, K + L + 1] bool: positions with a policy from a search with the target network."""
        loss = self.settings.loss
        share = round(self.settings.reanalyse.ratio * loss.batch_size)
        in_batch = np.arange(len(window.rows)) % loss.batch_size
        has_action = np.zeros_like(window.is_state)  # equivalent to: a state follows
        has_action[:, : loss.unroll_steps + 1] = window.is_state[:, 1 : loss.unroll_steps + 2]
        return has_action & (in_batch < share)[:, None] & self.planner.gives_policies

    def _plan(self, target: Searcher, rows: np.ndarray, draws: Draws) -> Plan:
        observations = self.frames.observations(self.replay.stack_rows(rows))
        return self.planner.plan(target, observations, draws)

    def _evaluate(self, target: Searcher, rows: np.ndarray) -> np.ndarray:
        return target.evaluate(self.frames.observations(self.replay.stack_rows(rows)))
