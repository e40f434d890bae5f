"""The loop: collect, reanalyse, learn, as a generator of events.

Training is one synchronous process with a fixed ratio of train_steps to env_steps. The same config
gives the same result at any speed of the machine. A cycle is

    learn     from the batches drawn one cycle before, in a thread or two  ┐
    collect   env_steps with the acting network, until the budget is spent │ side by side: learning
    draw      the batches of the next `sample_ahead` train_steps           │ reads nothing that the
    reanalyse what those need, in threads                                  ┘ others write, nor they
    update    priorities and the copies of the network

Between two cycles the state of a run is the state of its parts (`Trainer.parts`). `checkpoint`
saves it, and another `Trainer` continues from it.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ezcli.config.run import RunConfig
from ezcli.efficientzero import aside
from ezcli.efficientzero.assemble import make_batch, take
from ezcli.efficientzero.batch import Batch, Window
from ezcli.efficientzero.components import add_decoder, planners_for, rules_for
from ezcli.efficientzero.frames import FrameStore
from ezcli.efficientzero.inference import to_network_input
from ezcli.efficientzero.learner import STEP_METRICS, Learner, StepResult
from ezcli.efficientzero.modes import WINDOWS, compare_modes
from ezcli.efficientzero.network import Network
from ezcli.efficientzero.network_copies import NetworkCopies
from ezcli.efficientzero.reanalyse import Reanalyser
from ezcli.efficientzero.recalibrate import BATCHES, recalibrate
from ezcli.efficientzero.replay import Replay
from ezcli.efficientzero.searcher import Searcher
from ezcli.envs.make import make_env
from ezcli.envs.vector import VectorEnv
from ezcli.errors import NotFinite, RunError
from ezcli.runs.compute import Compute, make_executor
from ezcli.runs.draw import DrawAhead, Drawn
from ezcli.runs.frame_log import FrameLog
from ezcli.runs.metrics import MetricsWindow
from ezcli.runs.seeding import Streams, generator, network_seed
from ezcli.state import Part, State, restore_parts, states_of


class Event(NamedTuple):
    """The report of the loop after a cycle. The loop waits until it is handled."""

    env_steps: int
    train_steps: int
    metrics: dict[str, Any] | None  # a line of metrics, if one is complete


class Learnt(NamedTuple):
    """The train_steps of a draw."""

    results: list[StepResult]
    augmentation: Mapping[str, Any]  # state of the random stream before them


class Evidence(NamedTuple):
    """A train_step that failed."""

    train_step: int  # number of train_steps before it
    metrics: dict[str, float]  # its STEP_METRICS
    batch: Batch


class Trainer:
    """All the state of one run."""

    def __init__(self, config: RunConfig, compute: Compute) -> None:
        self.config, self.compute = config, compute
        self.streams = Streams(config.seed)
        self.envs = VectorEnv(
            lambda: make_env(config.env, evaluation=False),
            config.acting.num_envs,
            self.streams["environments"],
            # The action that continues after a lost life is not an env_step.
            longest=2 * config.schedule.env_steps,
        )
        self.num_actions = len(self.envs.spec.action_names)
        self.rules = rules_for(config)
        network = make_network(config, self.envs.spec.frame_shape, self.num_actions)
        network.to(compute.device)
        self.learner = Learner(network, config, self.rules, compute.precision)
        self.planners = planners_for(config, self.num_actions)
        self.copies = NetworkCopies(
            network, config, lambda network: Searcher(network, compute.precision, compute.search)
        )
        self.replay = Replay(config, self.num_actions, config.env.frame_stack)
        self.frames = FrameStore(
            self.replay.rows, self.envs.spec.frame_shape, compute.device, self.envs.spec.frame_type
        )
        self.reanalyser = Reanalyser(
            config, self.rules, self.planners.targets, self.replay, self.frames
        )
        self.ahead = DrawAhead(config, self.replay, self.learner)
        self.largest_target = 0.0  # largest |value or value prefix| in targets of this process
        self.metrics = MetricsWindow()
        self.evidence: Evidence | None = None  # data about the NotFinite that ended the run
        self.is_started = False
        # The content of a checkpoint. When it is restored, a part can use those before it.
        self.parts: dict[str, Part] = {
            "weights": network,
            "learner": self.learner,
            "copies": self.copies,
            "replay": self.replay,
            "frames": FrameLog(self.replay, self.frames),
            "reanalyser": self.reanalyser,
            "draw": self.ahead,
            "metrics": self.metrics,
            "streams": self.streams,
            "environments": self.envs,
        }
        if self.learner.average is not None:
            self.parts["moving_average"] = self.learner.average

    def state(self) -> dict[str, State]:
        """The state of every part, by its name."""
        return states_of(self.parts)

    def restore(self, states: Mapping[str, State]) -> None:
        """Restores the state of another trainer with the same config.

        Raises:
          CheckpointError: names the part and the entry that does not fit.
          EnvError: the replayed games differ.
        """
        restore_parts(self.parts, states)
        rows = [self.replay.newest_row(env) for env in range(self.config.acting.num_envs)]
        self.envs.require_frames([self.frames.frames[row].cpu().numpy() for row in rows])
        self.is_started = True

    @property
    def env_steps(self) -> int:
        """Actions taken so far."""
        return self.replay.env_steps

    @property
    def train_steps(self) -> int:
        """Gradient steps made so far."""
        return self.learner.train_steps

    @property
    def is_finished(self) -> bool:
        """Whether everything has been collected and learnt."""
        return self.learner.train_steps >= self.config.schedule.train_steps

    def events(self) -> Iterator[Event]:
        """Runs from the current state to the end, and yields after every cycle."""
        schedule, interval = self.config.schedule, self.config.record.metrics_interval
        if not self.is_started:
            self._start()
        with make_executor(self.compute.threads) as executor:
            while not self.is_finished:
                steps_before = drawn_steps = self.learner.train_steps
                drawn, learning = self.ahead.drawn, None
                if drawn is not None:
                    drawn_steps += schedule.sample_ahead
                    learning = executor.submit(self._learn, drawn, executor)
                is_collected = self.replay.env_steps >= schedule.env_steps
                may_learn = is_collected or self.replay.filled >= schedule.random_env_steps
                if not is_collected:
                    self._collect(steps_before)
                pending, window = None, None
                if may_learn and drawn_steps < schedule.train_steps:
                    window = self._draw(drawn_steps)
                    self.copies.before_targets(drawn_steps)
                    pending = self.reanalyser.start(
                        window,
                        self.copies.target,
                        self.copies.target_version(drawn_steps),
                        drawn_steps,
                        self.streams["reanalysis"],
                        executor,
                    )
                if learning is not None and drawn is not None:
                    self._update(drawn, learning.result())
                    self.ahead.drawn = None
                    self._compare_modes()
                if pending is not None and window is not None:
                    targets, work = self.reanalyser.finish(pending)
                    self.metrics.add_work(work)
                    self.ahead.drawn = Drawn(window, targets)
                    for scalars in (targets.value, targets.value_prefix):
                        self.largest_target = max(self.largest_target, float(abs(scalars).max()))
                line = None
                if self.learner.train_steps // interval > steps_before // interval:
                    line = self.metrics.line(self.replay, self.learner)
                    self.metrics.clear()
                yield Event(self.replay.env_steps, self.learner.train_steps, line)

    def _start(self) -> None:
        for env, frame in enumerate(self.envs.start()):
            self.frames.write(self.replay.begin_episode(env), frame)
        self.is_started = True

    def _collect(self, train_steps: int) -> None:
        """Plays one cycle's env_steps, all environments in lock step, after `train_steps`."""
        num_envs = self.config.acting.num_envs
        for _ in range(self.config.schedule.env_steps_per_cycle // num_envs):
            policy, actions, values = self._act(train_steps)
            for env, arrival in enumerate(self.envs.step(actions.tolist())):
                reward = arrival.reward
                if self.config.env.clip_rewards:
                    reward = float(np.sign(reward))
                ends = arrival.is_episode_over, arrival.is_truncated
                action, value = int(actions[env]), float(values[env])
                row = self.replay.add(env, action, reward, policy[env], *ends, value)
                self.frames.write(row, arrival.frame)
                if arrival.first_frame is not None:
                    self.frames.write(self.replay.begin_episode(env), arrival.first_frame)
                if arrival.finished is not None:
                    self.metrics.add_game(arrival.finished)

    def _act(self, train_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Policies [E, A], actions [E] and the network's values [E] for the newest states."""
        planner, rng = self.planners.acting, self.streams["acting"]
        envs = self.config.acting.num_envs
        if self.replay.filled < self.config.random_play:
            uniform = np.full((envs, self.num_actions), 1 / self.num_actions, np.float32)
            return uniform, rng.integers(self.num_actions, size=envs), np.zeros(envs)
        rows = np.array([self.replay.newest_row(env) for env in range(envs)])
        observations = self.frames.observations(self.replay.stack_rows(rows))
        draws = planner.draws(rng, envs, explores=True)
        plan = planner.plan(self.copies.acting, observations, draws)
        self.metrics.add_plan(plan)
        actions = planner.act(plan, self.replay.env_steps, train_steps, rng)
        return plan.policy, actions, plan.network_value

    def _draw(self, drawn_steps: int) -> Window:
        """Draws positions for the `sample_ahead` batches after `drawn_steps` train_steps."""
        if self.replay.num_sampleable == 0:
            waiting = self.config.replay.waiting(self.replay.lookahead)
            ways = "Raise schedule.random_env_steps."
            if self.config.replay.block_env_steps:
                ways = "Use --set replay.block_env_steps=0, or raise schedule.env_steps."
            raise RunError(
                "EZ-RUN-NOTHING-TO-LEARN",
                f"There is nothing to learn from after {self.replay.env_steps} env_steps. A "
                f"state can be drawn {waiting} env_steps after it was collected, or when its "
                "game ends.",
                ways,
            )
        ahead, total = self.config.schedule.sample_ahead, self.config.schedule.train_steps
        progress = (drawn_steps + np.arange(ahead)) / total
        first, last = self.config.replay.importance_exponent
        exponents = first + (last - first) * progress
        return self.replay.sample(self.config.loss.batch_size, exponents, self.streams["replay"])

    def _learn(self, drawn: Drawn, executor: Executor) -> Learnt:
        """Makes one train_step from each batch. Changes only the learner.

        A free thread of the executor assembles the next batch at the same time.
        """
        before = self.streams["augmentation"].bit_generator.state
        batches, results = self._batches(drawn), []
        batch = next(batches, None)
        while batch is not None:
            upcoming = aside.begin(lambda: next(batches, None), executor)
            results.append(self.learner.step(batch, executor))
            batch = upcoming()
        return Learnt(results, before)

    def _batches(self, drawn: Drawn) -> Iterator[Batch]:
        """The batches of a draw, augmented with numbers of the random stream."""
        size = self.config.loss.batch_size
        for number in range(self.config.schedule.sample_ahead):
            yield make_batch(
                take(drawn.window, number, size),
                take(drawn.targets, number, size),
                self.replay,
                self.frames,
                self.config.loss,
                self.streams["augmentation"],
            )

    def _update(self, drawn: Drawn, learnt: Learnt) -> None:
        """Updates priorities, metrics and copies after the train_steps of a draw.

        Raises:
          NotFinite: a loss or gradient is not finite; `evidence` is set.
        """
        results = learnt.results
        numbers = torch.stack([result.metrics for result in results]).cpu().numpy()
        errors = torch.stack([result.errors for result in results]).cpu().numpy()
        is_finite = np.isfinite(numbers).all(1) & np.isfinite(errors).all(1)
        if not is_finite.all():
            raise self._not_finite(int(is_finite.argmin()), numbers, drawn, learnt)
        self.replay.update_priorities(drawn.window.rows[:, 0], errors.ravel().astype(np.float64))
        norms = [r.auxiliary_gradient for r in results if r.auxiliary_gradient is not None]
        gradients = [norm.item() for norm in norms]
        self.metrics.add_training(numbers, gradients, drawn.window.age, self.rules)
        if self.rules.recalibrates:
            self._recalibrate()
        self.copies.after_learning(self.learner)

    def _recalibrate(self) -> None:
        """Recomputes the learner's running statistics before they are copied or evaluated."""
        train_steps = self.learner.train_steps
        if not (self.copies.are_due(train_steps) or self._is_measured()):
            return
        rng = generator(self.config.seed, "recalibration", train_steps)
        size, horizon = self.config.loss.batch_size, self.rules.prefix_horizon
        samples = (self._sample(rng, size)[:2] for _ in range(BATCHES))
        recalibrate(self.learner.network, samples, horizon)

    def _is_measured(self) -> bool:
        """Whether an evaluation is due after the train_steps so far."""
        interval = self.config.evaluation.interval
        return self.is_finished or bool(interval and self.learner.train_steps % interval == 0)

    def _sample(self, rng: np.random.Generator, windows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draws windows uniformly from the replay, without augmentation.

        Returns:
          Observations [B, C, H, W] in [0, 1] and, for K unroll steps, actions [B, K] int64 and
          whether each position is a state [B, K + 1] bool.
        """
        rows = rng.choice(np.flatnonzero(self.replay.arrays.weight), windows)
        window = self.replay.window(rows, np.ones(windows, np.float32), rng)
        images = self.frames.observations(self.replay.stack_rows(rows))
        actions, is_state = map(torch.from_numpy, (window.actions, window.is_state))
        device = images.device
        return to_network_input(images), actions.to(device), is_state.to(device)

    def _compare_modes(self) -> None:
        """Compares evaluation mode with training mode, as often as evaluations.

        It has a separate random stream, so that measuring does not affect results.
        """
        if not (self._is_measured() and self.replay.num_sampleable):
            return
        rng = generator(self.config.seed, "modes", self.learner.train_steps)
        sample = self._sample(rng, WINDOWS)
        compared = compare_modes(self.learner.network, *sample, self.rules.prefix_horizon)
        self.metrics.add_modes(compared)

    def _not_finite(
        self, number: int, numbers: np.ndarray, drawn: Drawn, learnt: Learnt
    ) -> NotFinite:
        """The error for the batch with this number, which is assembled again as evidence."""
        self.streams["augmentation"].bit_generator.state = learnt.augmentation
        batch = next(islice(self._batches(drawn), number, None))
        found = dict(zip(STEP_METRICS, numbers[number].tolist(), strict=True))
        step = self.learner.train_steps - len(numbers) + number
        self.evidence = Evidence(step, found, batch)
        wrong = [f"{name} {value}" for name, value in found.items() if not np.isfinite(value)]
        which = ", ".join(wrong) or "the error of a value"
        return NotFinite(
            "EZ-RUN-NOT-FINITE",
            f"Not finite at train_step {step:,}: {which}. No later train_step changed the weights.",
        )


def make_network(config: RunConfig, frame_shape: tuple[int, int, int], num_actions: int) -> Network:
    """The run's network with its initial weights, on the CPU."""
    channels, height, width = frame_shape
    observation_shape = (channels * config.env.frame_stack, height, width)
    seed, of_decoder = network_seed(config.seed), network_seed(config.seed, "decoder")
    network = Network(config.network, observation_shape, num_actions, config.value.support, seed)
    add_decoder(network, config, frame_shape, of_decoder)
    return network
