"""The planner that does not search: Q-learning on the model's next reward and value.

    Q_t(a) = r(s_t, a) + discount V(g(s_t, a))
    v_t = max_a Q_t(a)
    a_t = argmax_a Q_t(a),  or uniform with probability epsilon

It gives no policies. An agent that plans only one step ahead differs from EfficientZero in planning
alone (a control as in Anand et al., ICLR 2022). Shapes as in `planner`.
"""

import numpy as np
from torch import Tensor

from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.planner import Draws, Edge, Plan, Thought
from ezcli.efficientzero.policy import epsilon_at, tie_seeds
from ezcli.efficientzero.searcher import Searcher


class OneStep:
    """See `planner.Planner`.

    Args:
      settings: of the run.
      prefix_horizon: not used: one step ahead a prefix is a reward.
      num_actions: A.
    """

    gives_policies = False
    searches = False

    def __init__(self, settings: Hyperparameters, prefix_horizon: int, num_actions: int) -> None:
        self.settings, self.num_actions = settings, num_actions

    def draws(self, rng: np.random.Generator, batch: int, explores: bool) -> Draws:
        """Draws seeds for ties and, in evaluation, numbers [B, 1] that select random actions.

        During collection, `act` draws the latter.
        """
        noise = None if explores else rng.random((batch, 1)).astype(np.float32)
        return Draws(noise, tie_seeds(rng, batch))

    def plan(self, network: Searcher, observations: Tensor, draws: Draws) -> Plan:
        """Applies every action to each state in the model.

        Raises:
          NotFinite: a value is not finite.
        """
        found = network.look_ahead(observations)
        q = self._q(found.reward, found.value)
        return Plan(
            policy=np.zeros_like(q),
            best=self._best(q, draws),
            value=q.max(1),
            network_value=found.network_value,
            depth=np.ones(len(q), np.int32),
            visits=np.ones(q.shape, np.int32),
        )

    def act(
        self, plan: Plan, env_steps: int, train_steps: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The best actions [B], each replaced by a random one with probability epsilon."""
        epsilon = epsilon_at(env_steps, self.settings.schedule.env_steps, self.settings.one_step)
        is_random = rng.random(len(plan.best)) < epsilon
        return np.where(is_random, rng.integers(self.num_actions, size=len(is_random)), plan.best)

    def think(self, network: Searcher, observations: Tensor, draws: Draws) -> Thought:
        """Plans from one state, with a path of one step."""
        found = network.look_ahead(observations)
        q = self._q(found.reward, found.value)
        action = int(self._best(q, draws)[0])
        reward = float(found.reward[0, action])
        return Thought(
            action=action,
            visits=np.ones(self.num_actions, np.int32),
            policy=found.policy[0],
            value=float(q.max()),
            network_value=float(found.network_value[0]),
            depth=1,
            best_path=(Edge(action, visits=1, value_prefix=reward, reward=reward, restarts=True),),
            q=q[0],
        )

    def _q(self, reward: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Q values [B, A] float32."""
        return reward + np.float32(self.settings.value.discount) * value

    def _best(self, q: np.ndarray, draws: Draws) -> np.ndarray:
        """Actions [B] with the largest Q, ties broken at random; epsilon-greedy in evaluation."""
        is_best = q == q.max(1, keepdims=True)
        chosen = draws.ties % is_best.sum(1)  # index among equal actions
        best: np.ndarray = (is_best.cumsum(1) > chosen[:, None]).argmax(1)
        if draws.noise is None:
            return best
        is_random = draws.noise[:, 0] < self.settings.one_step.evaluation_epsilon
        return np.where(is_random, draws.ties % self.num_actions, best)
