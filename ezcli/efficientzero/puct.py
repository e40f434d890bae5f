"""The planner of MuZero and EfficientZero: a pUCT search, whose visits give policy and action.

For state s_t, with N_t(a) visits of action a at the root and G_i the return that simulation i of S
backed up to it (MuZero appendices B and D; EfficientZero appendix A.1):

    prior         P_t(a) = (1 - f) p_t(a) + f n_a,  n ~ Dirichlet(alpha);  f = 0 in evaluation
    policy target pi_t(a) = N_t(a) / sum_b N_t(b)
    acting        a_t ~ N_t(a)^(1/T) / sum_b N_t(b)^(1/T);  argmax_a N_t(a) in evaluation
    value         v_t = (v(s_t) + sum_i G_i) / (1 + S)

`puct_kernels` has the selection rule in the tree. Shapes as in `planner`.
"""

import numpy as np
from torch import Tensor

from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.inference import RootNoise
from ezcli.efficientzero.planner import Draws, Plan, Thought, best_path
from ezcli.efficientzero.policy import (
    greedy_actions,
    root_noise,
    sample_actions,
    temperature_at,
    tie_seeds,
    visit_policy,
)
from ezcli.efficientzero.search import puct_constants
from ezcli.efficientzero.searcher import Searcher


class Puct:
    """See `planner.Planner`.

    Args:
      settings: of the run.
      prefix_horizon: env_steps after which the value prefix restarts.
      num_actions: A.
    """

    gives_policies = True
    searches = True

    def __init__(self, settings: Hyperparameters, prefix_horizon: int, num_actions: int) -> None:
        self.settings, self.num_actions = settings, num_actions
        self.constants = puct_constants(settings, prefix_horizon)

    def draws(self, rng: np.random.Generator, batch: int, explores: bool) -> Draws:
        """Draws Dirichlet noise for the roots if `explores`, and seeds for ties."""
        noise, alpha = None, self.settings.search.root_dirichlet_alpha
        if explores:
            noise = root_noise(rng, batch, self.num_actions, alpha)
        return Draws(noise, tie_seeds(rng, batch))

    def plan(self, network: Searcher, observations: Tensor, draws: Draws) -> Plan:
        """Searches from each state.

        Raises:
          NotFinite: a value is not finite.
        """
        found = network.search(self.constants, observations, self._mixed(draws), draws.ties)
        return Plan(
            policy=visit_policy(found.visits),
            best=greedy_actions(found.visits),
            value=found.value,
            network_value=found.network_value,
            depth=found.depth,
            visits=found.visits,
        )

    def act(
        self, plan: Plan, env_steps: int, train_steps: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Samples actions [B] in proportion to visits ^ (1 / temperature)."""
        while_collecting = self.settings.schedule.collecting_train_steps
        temperature = temperature_at(train_steps, while_collecting, self.settings.acting)
        return sample_actions(visit_policy(plan.visits, temperature), rng)

    def think(self, network: Searcher, observations: Tensor, draws: Draws) -> Thought:
        """Searches from one state, and returns the path of the most visited nodes."""
        tree, root = network.tree(self.constants, observations, self._mixed(draws), draws.ties)
        action = int(greedy_actions(tree.root_visits)[0])
        return Thought(
            action=action,
            visits=tree.root_visits[0],
            policy=root.policy[0],
            value=float(tree.root_value[0]),
            network_value=float(root.value[0]),
            depth=int(tree.depth[0].max()),
            best_path=best_path(tree, action, self.constants.prefix_horizon),
            tree=tree,
        )

    def _mixed(self, draws: Draws) -> RootNoise | None:
        if draws.noise is None:
            return None
        return RootNoise(draws.noise, self.settings.search.root_exploration_fraction)
