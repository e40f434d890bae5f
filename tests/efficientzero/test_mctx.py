"""The searches against mctx (DeepMind): selection, scores, expansion and backup.

Both define the same pUCT search once three things are passed to mctx: our way to complete and
normalise Q-values, our count of a node's simulations (theirs is one higher) and our lot where all
scores tie. Their Gumbel search is taken as it is, in float64: only the noise must be the same.
"""

import numpy as np
import pytest

from ezcli.efficientzero.gumbel import decision
from ezcli.efficientzero.search import Evaluation, search
from ezcli.efficientzero.tree import GumbelConstants, PuctConstants
from tests.oracles import mix

CONSTANTS = PuctConstants(
    num_simulations=40,
    discount=0.9,
    pb_c_init=1.25,
    pb_c_base=50.0,  # small, so that its logarithm counts
    min_q_range=0.01,
    prefix_horizon=1,  # a prefix is a reward, as mctx has it
)
GUMBEL = GumbelConstants(
    num_simulations=16,
    discount=0.9,
    candidates=8,
    c_visit=50.0,
    c_scale=0.1,
    scales_by_node=True,
    min_q_range=1e-8,
    prefix_horizon=1,
)


def numbers(state, num_actions):
    """Reward, policy logits and value of a state, a 32-bit number."""
    logits = np.array(
        [mix(state, 200 + a) % 10**6 / 400_000 for a in range(num_actions)], np.float32
    )
    reward, value = (np.float32(mix(state, word) % 1001 / 500 - 1) for word in (101, 102))
    return reward, logits, value


def ours(keys, num_actions, seeds, constants=CONSTANTS, noise=None):
    states = [[mix(0, key)] for key in keys]

    def evaluation(new):
        rewards, logits, values = zip(*(numbers(s, num_actions) for s in new), strict=True)
        weights = np.exp(np.array(logits))
        policy = weights / weights.sum(1, keepdims=True)
        return Evaluation(np.array(rewards), policy, np.array(values))

    def evaluate(node, parents, actions):
        new = [
            mix(known[p], int(a) + 1) for known, p, a in zip(states, parents, actions, strict=True)
        ]
        for known, state in zip(states, new, strict=True):
            known.append(state)
        return evaluation(new)

    root = evaluation([known[0] for known in states])
    return search(root, evaluate, constants, seeds, noise)


def mix32(x, word):
    """`mix` of arrays: arithmetic of uint32 wraps."""
    import jax.numpy as jnp

    x = x ^ jnp.asarray(word, jnp.uint32)
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0x735A2D97)
    return x ^ (x >> 15)


def their_model(num_actions, discount):
    """`numbers` as mctx takes them: of states [B], and of what follows them."""
    import jax.numpy as jnp
    import mctx

    def opinion(state):  # [B] -> rewards [B], logits [B, A], values [B]
        words = jnp.arange(num_actions, dtype=jnp.uint32)[None] + 200
        logits = (mix32(state[:, None], words) % 10**6).astype(jnp.float32) / 400_000
        reward, value = (
            (mix32(state, word) % 1001).astype(jnp.float32) / 500 - 1 for word in (101, 102)
        )
        return reward, logits, value

    def recurrent(params, rng_key, action, state):
        state = mix32(state, action.astype(jnp.uint32) + 1)
        reward, logits, value = opinion(state)
        output = mctx.RecurrentFnOutput(
            reward=reward,
            discount=jnp.full_like(reward, discount),
            prior_logits=logits,
            value=value,
        )
        return output, state

    return opinion, recurrent


def theirs(keys, num_actions, seeds):
    import jax
    import jax.numpy as jnp
    import mctx
    from mctx._src.action_selection import muzero_action_selection

    opinion, recurrent = their_model(num_actions, CONSTANTS.discount)

    def normalised_q(tree, node):
        """Visited: Q; unvisited: the mean, with the parent's mean as one more below the root."""
        is_visited = tree.children_visits > 0  # [N, A]
        q = tree.children_rewards + tree.children_discounts * tree.children_values
        total = jnp.where(is_visited, q, 0).sum(1)
        count = is_visited.sum(1)
        nodes = len(tree.node_visits)

        def add_mean(i, means):  # a parent's number is below its children's
            below = (means[tree.parents[i]] + total[i]) / (count[i] + 1)
            return means.at[i].set(jnp.where(i == 0, total[0] / jnp.maximum(count[0], 1), below))

        means = jax.lax.fori_loop(0, nodes, add_mean, jnp.zeros(nodes))
        low = jnp.where(is_visited, q, jnp.inf).min()
        high = jnp.where(is_visited, q, -jnp.inf).max()
        completed = jnp.where(is_visited[node], q[node], means[node])
        normal = (completed - low) / jnp.maximum(high - low, CONSTANTS.min_q_range)
        chosen = 0
        for sides in range(1, num_actions + 1):
            throw = mix32(mix32(mix32(tree.extra_data, node), 0), sides) % sides
            chosen = jnp.where(throw == 0, sides - 1, chosen)
        by_lot = jax.nn.one_hot(chosen, num_actions)
        return jnp.where(count[node] == 0, by_lot, normal.clip(0, 1))

    def select(rng_key, tree, node, depth):
        tree = tree.replace(node_visits=tree.node_visits - 1)
        return muzero_action_selection(
            rng_key,
            tree,
            node,
            depth,
            pb_c_init=CONSTANTS.pb_c_init,
            pb_c_base=CONSTANTS.pb_c_base,
            qtransform=normalised_q,
        )

    states = jnp.array([mix(0, key) for key in keys], jnp.uint32)
    _, logits, value = opinion(states)
    return mctx.search(
        None,
        jax.random.key(0),
        root=mctx.RootFnOutput(prior_logits=logits, value=value, embedding=states),
        recurrent_fn=recurrent,
        root_action_selection_fn=lambda rng_key, tree, node: select(rng_key, tree, node, 0),
        interior_action_selection_fn=select,
        num_simulations=CONSTANTS.num_simulations,
        extra_data=jnp.array(seeds, jnp.uint32),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # what jax warns of is not ours
@pytest.mark.parametrize("num_actions", [2, 4, 18])
def test_mctx_builds_the_same_trees(num_actions):
    keys = [1, 2, 3, 4, 5, 6]
    seeds = np.random.default_rng(num_actions).integers(2**32, size=len(keys))
    tree, other = ours(keys, num_actions, seeds), theirs(keys, num_actions, seeds)
    visits = other.summary().visit_counts.astype(int)
    np.testing.assert_array_equal(tree.root_visits, visits)
    np.testing.assert_array_equal(tree.children, other.children_index)
    np.testing.assert_array_equal(tree.visits, other.node_visits)
    np.testing.assert_allclose(tree.root_value, other.summary().value, rtol=1e-5, atol=1e-5)


def their_gumbel(keys, num_actions, constants):
    """mctx's answer, and the noise that it drew."""
    import jax
    import jax.numpy as jnp
    import mctx

    opinion, recurrent = their_model(num_actions, constants.discount)
    states = jnp.array([mix(0, key) for key in keys], jnp.uint32)
    _, logits, value = (part.astype(jnp.float64) for part in opinion(states))
    key = jax.random.key(num_actions)

    def exact(*arguments):
        output, state = recurrent(*arguments)
        return jax.tree.map(lambda part: part.astype(jnp.float64), output), state

    found = mctx.gumbel_muzero_policy(
        None,
        key,
        root=mctx.RootFnOutput(prior_logits=logits, value=value, embedding=states),
        recurrent_fn=exact,
        num_simulations=constants.num_simulations,
        max_num_considered_actions=constants.candidates,
        qtransform=lambda tree, node: mctx.qtransform_completed_by_mix_value(
            tree, node, maxvisit_init=constants.c_visit, value_scale=constants.c_scale
        ),
    )
    return found, np.asarray(found.search_tree.extra_data.root_gumbel, np.float32)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("num_actions", "simulations", "candidates", "c_visit", "c_scale"),
    [
        (2, 2, 2, 50.0, 0.1),
        (2, 64, 18, 50.0, 0.1),
        (3, 5, 3, 50.0, 0.1),
        (5, 33, 5, 10.0, 0.5),
        (9, 50, 6, 1.0, 1.0),
        (18, 2, 18, 50.0, 0.1),
        (18, 16, 8, 50.0, 0.1),
        (18, 64, 18, 50.0, 0.1),
    ],
)
def test_mctx_makes_the_same_gumbel_search(num_actions, simulations, candidates, c_visit, c_scale):
    import jax

    constants = GUMBEL._replace(
        num_simulations=simulations, candidates=candidates, c_visit=c_visit, c_scale=c_scale
    )
    keys = list(range(1, 33))
    with jax.enable_x64(True):
        other, noise = their_gumbel(keys, num_actions, constants)
        trees = other.search_tree
        visits, value = trees.summary().visit_counts.astype(int), trees.summary().value
    tree = ours(keys, num_actions, np.arange(len(keys)), constants, noise)
    policy, best = decision(tree, constants)
    np.testing.assert_array_equal(tree.root_visits, visits)
    np.testing.assert_array_equal(tree.children, trees.children_index)
    np.testing.assert_array_equal(tree.visits, trees.node_visits)
    np.testing.assert_array_equal(best, other.action)
    np.testing.assert_allclose(policy, other.action_weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tree.root_value, value, rtol=1e-5, atol=1e-5)
