"""The planner of Gumbel MuZero and EfficientZero V2, which improves the policy with any budget.

Noise selects candidate actions at the root, and sequential halving finds the best of them
(Danihelka et al., ICLR 2022; Wang et al., ICML 2024). For state s_t with logits l_t and completed
q_t:

    noise         n_a ~ Gumbel(0, 1);  0 in evaluation
    acting        a_t = argmax_a  n_a + l_t(a) + sigma(q_t(a)),  among the most visited actions
    policy target pi_t(a) = softmax_a(l_t(a) + sigma(q_t(a)))

`completed_q` has sigma and q. Shapes as in `planner`.
"""

import numpy as np
from torch import Tensor

from ezcli.efficientzero.gumbel_kernels import decide
from ezcli.efficientzero.hyperparameters import Hyperparameters
from ezcli.efficientzero.inference import RootNoise, SearchResult
from ezcli.efficientzero.planner import Draws, Plan, Thought, best_path
from ezcli.efficientzero.policy import tie_seeds
from ezcli.efficientzero.search import gumbel_constants
from ezcli.efficientzero.searcher import Searcher
from ezcli.efficientzero.tree import ROOT, GumbelConstants, Tree, new_tree


class Gumbel:
    """See `planner.Planner`.

    Args:
      settings: of the run.
      prefix_horizon: env_steps after which the value prefix restarts.
      num_actions: A.
    """

    gives_policies = True
    searches = True

    def __init__(self, settings: Hyperparameters, prefix_horizon: int, num_actions: int) -> None:
        self.num_actions = num_actions
        self.constants = gumbel_constants(settings, prefix_horizon, num_actions)

    def draws(self, rng: np.random.Generator, batch: int, explores: bool) -> Draws:
        """Draws Gumbel noise for the roots if `explores`, and seeds for ties."""
        noise = None
        if explores:
            noise = rng.gumbel(size=(batch, self.num_actions)).astype(np.float32)
        return Draws(noise, tie_seeds(rng, batch))

    def plan(self, network: Searcher, observations: Tensor, draws: Draws) -> Plan:
        """Searches from each state.

        Raises:
          NotFinite: a value is not finite.
        """
        found = network.search(self.constants, observations, beside_priors(draws), draws.ties)
        policy, best = decision(roots_of(found, draws), self.constants)
        return Plan(policy, best, found.value, found.network_value, found.depth, found.visits)

    def act(
        self, plan: Plan, env_steps: int, train_steps: int, rng: np.random.Generator
    ) -> np.ndarray:
        """The winners [B] of the searches, whose noise already explores."""
        return plan.best

    def think(self, network: Searcher, observations: Tensor, draws: Draws) -> Thought:
        """Searches from one state, and returns the path that begins with its winner."""
        tree, root = network.tree(self.constants, observations, beside_priors(draws), draws.ties)
        _, best = decision(tree, self.constants)
        return Thought(
            action=int(best[0]),
            visits=tree.root_visits[0],
            policy=root.policy[0],
            value=float(tree.root_value[0]),
            network_value=float(root.value[0]),
            depth=int(tree.depth[0].max()),
            best_path=best_path(tree, int(best[0]), self.constants.prefix_horizon),
            tree=tree,
        )


def beside_priors(draws: Draws) -> RootNoise | None:
    """The noise of a search, which kernels add to logits instead of priors."""
    return None if draws.noise is None else RootNoise(draws.noise, fraction=0.0)


def decision(tree: Tree, constants: GumbelConstants) -> tuple[np.ndarray, np.ndarray]:
    """Policies [B, A] float32 and winners [B] of finished searches."""
    policy, best = np.empty_like(tree.noise), np.empty(len(tree.noise), np.int64)
    decide(tree, constants, policy, best)
    return policy, best


def roots_of(found: SearchResult, draws: Draws) -> Tree:
    """Trees that consist of their roots, from results of searches."""
    tree = new_tree(found.prior, found.network_value, 0, draws.ties)
    tree.visits[:, ROOT] += found.visits.sum(1)
    tree.value_sum[:, ROOT] += (found.visits * found.q).sum(1)
    tree.edge_visits[:, ROOT], tree.edge_q[:, ROOT] = found.visits, found.q
    tree.q_range[:] = found.q_range
    if draws.noise is not None:
        tree.noise[:] = draws.noise
    return tree
