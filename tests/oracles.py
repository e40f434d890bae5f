"""Reference implementations, written as plainly as possible: objects, loops and Python numbers.

Nothing here imports the code it judges. Numbers are slow and obvious on purpose.
"""

import math
from dataclasses import dataclass, field

import numpy as np

TIE_TOLERANCE = 1e-6


def mix(x, word):
    """32-bit hash by multiply and xor-shift."""
    x = (x ^ word) % 2**32
    x = (x ^ x // 2**16) * 0x21F0AAAD % 2**32
    x = (x ^ x // 2**15) * 0x735A2D97 % 2**32
    return x ^ x // 2**15


def naive_random_below(seed, node, simulation, bound):
    """A uniform integer from 0 to `bound` - 1."""
    return mix(mix(mix(seed, node), simulation), bound) % bound


class FakeNetwork:
    """A network of B trees whose opinion of a node depends on the actions that lead to it.

    `levels` is how many different values there are: few make many exact ties.
    """

    def __init__(self, keys, num_actions, levels=1001, uniform=False):
        self.keys, self.num_actions = keys, num_actions
        self.levels, self.uniform = levels, uniform
        self.paths = [[()] for _ in keys]  # of the nodes of each tree
        self.known = {}

    def opinion(self, b, path):
        """(prefix, policy, value) in float32 of the node of tree `b` at the end of `path`."""
        if (self.keys[b], path) not in self.known:
            x = mix(0, self.keys[b])
            for action in path:
                x = mix(x, action + 1)
            prefix, value = (
                np.float32(2 * (mix(x, word) % self.levels) / (self.levels - 1) - 1)
                for word in (101, 102)
            )
            weights = [
                1 if self.uniform else 1 + mix(x, 200 + a) % 100 for a in range(self.num_actions)
            ]
            policy = np.array(weights, np.float32) / np.float32(sum(weights))
            self.known[self.keys[b], path] = prefix, policy, value
        return self.known[self.keys[b], path]

    def root(self):
        """Prefixes [B], policies [B, A] and values [B] of the roots."""
        return self._stack([() for _ in self.keys])

    def evaluate(self, parents, actions):
        """The same of new nodes; each tree keeps the paths of its nodes in order of creation."""
        found = [
            (*paths[parent], int(action))
            for paths, parent, action in zip(self.paths, parents, actions, strict=True)
        ]
        for paths, path in zip(self.paths, found, strict=True):
            paths.append(path)
        return self._stack(found)

    def _stack(self, paths):
        opinions = [self.opinion(b, path) for b, path in enumerate(paths)]
        return tuple(np.array(column, np.float32) for column in zip(*opinions, strict=True))


@dataclass
class Node:
    """One state of a naive search."""

    number: int  # in order of creation
    parent: "Node | None"
    depth: int
    prefix: float
    policy: list
    children: dict = field(default_factory=dict)  # action -> Node
    returns: list = field(default_factory=list)  # every value backed up through here

    @property
    def value(self):
        return math.fsum(self.returns) / len(self.returns)

    def reward(self, horizon):
        """The sum of rewards starts anew below every `horizon`-th node."""
        if self.parent.depth % horizon == 0:
            return self.prefix
        return self.prefix - self.parent.prefix

    def q(self, c):
        return self.reward(c.prefix_horizon) + c.discount * self.value


def grow(opinion, c, choose):
    """The root after a search; `opinion(path) -> (prefix, policy, value)`.

    `choose(node, everyone)` is the rule: an action of a node, from all nodes but the root so far.
    """

    def make(number, parent, path):
        prefix, policy, value = opinion(path)
        depth = 0 if parent is None else parent.depth + 1
        return Node(number, parent, depth, float(prefix), [float(p) for p in policy]), float(value)

    root, value = make(0, None, ())
    root.prefix = 0.0
    root.returns.append(value)
    everyone = []  # but the root
    for number in range(1, c.num_simulations + 1):
        node, path = root, ()
        while True:
            action = choose(node, everyone)
            path += (action,)
            if action not in node.children:
                break
            node = node.children[action]
        leaf, value = make(number, node, path)
        node.children[action] = leaf
        everyone.append(leaf)
        at = leaf
        while at is not None:
            at.returns.append(value)
            if at.parent is not None:
                value = at.reward(c.prefix_horizon) + c.discount * value
            at = at.parent
    return root


def best_at_random(scores, tie_seed, node, visits):
    """The action with the highest score; one of equal ones at random."""
    tied = [a for a, s in enumerate(scores) if s >= max(scores) - TIE_TOLERANCE]
    for place, candidate in enumerate(tied, start=1):
        if naive_random_below(tie_seed, node.number, visits, place) == 0:
            action = candidate
    return action


def tree_range(everyone, c):
    """Smallest and largest Q of a tree."""
    qs = [node.q(c) for node in everyone]
    return (min(qs), max(qs)) if qs else (0.0, 0.0)


def scaled(q, low, high, c):
    return min(max((q - low) / max(high - low, c.min_q_range), 0.0), 1.0)


def naive_search(opinion, c, tie_seed):
    """The root after a pUCT search."""
    guesses = {}  # mean Q of the visited actions of each node on the way down

    def choose(node, everyone):
        low, high = tree_range(everyone, c)
        known = [child.q(c) for child in node.children.values()]
        if node.parent is None:
            guess = sum(known) / len(known) if known else 0.0
        else:
            guess = (guesses[node.parent.number] + sum(known)) / (len(known) + 1)
        guesses[node.number] = guess
        total = sum(len(child.returns) for child in node.children.values())
        rate = c.pb_c_init + math.log((total + c.pb_c_base + 1) / c.pb_c_base)
        scores = []
        for action, prior in enumerate(node.policy):
            child = node.children.get(action)
            visits = len(child.returns) if child else 0
            q = child.q(c) if child else guess
            bonus = prior * rate * math.sqrt(total) / (1 + visits)
            scores.append(scaled(q, low, high, c) + bonus)
        return best_at_random(scores, tie_seed, node, total)

    return grow(opinion, c, choose)


def halving_sequence(candidates, simulations):
    """How often the action was tried before that each simulation of sequential halving tries."""
    if candidates == 1:
        return list(range(simulations))
    sequence, tried, left = [], 0, candidates
    while len(sequence) < simulations:
        share = simulations / math.ceil(math.log2(candidates))
        for _ in range(max(1, int(share / left))):
            sequence += [tried] * left
            tried += 1
        left = max(2, left // 2)
    return sequence[:simulations]


def naive_sigma(node, c, everyone):
    """sigma(completed Q) of every action of a node."""
    known = {action: child.q(c) for action, child in node.children.items()}
    visits = [len(child.returns) for child in node.children.values()]
    mixed = node.returns[0]
    if known:
        mass = sum(node.policy[action] for action in known)
        mean = sum(node.policy[action] * q for action, q in known.items()) / mass
        mixed = (mixed + sum(visits) * mean) / (1 + sum(visits))
    completed = [known.get(action, mixed) for action in range(len(node.policy))]
    low, high = min(completed), max(completed)
    if not c.scales_by_node:
        low, high = tree_range(everyone, c)
    factor = (c.c_visit + max(visits, default=0)) * c.c_scale
    return [factor * scaled(q, low, high, c) for q in completed]


def naive_softmax(logits):
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def naive_gumbel_search(opinion, c, noise, tie_seed):
    """The root after a Gumbel search, its improved policy, and its winner."""

    def root_score(root, everyone, times):
        sigma = naive_sigma(root, c, everyone)
        return [
            g + math.log(p) + s if visits == times else -math.inf
            for g, p, s, visits in zip(noise, root.policy, sigma, root_visits(root), strict=True)
        ]

    def improved(node, everyone):
        sigma = naive_sigma(node, c, everyone)
        return naive_softmax([math.log(p) + s for p, s in zip(node.policy, sigma, strict=True)])

    def choose(node, everyone):
        tried = root_visits(node)
        if node.parent is None:
            sequence = halving_sequence(min(c.candidates, len(noise)), c.num_simulations)
            scores = root_score(node, everyone, sequence[sum(tried)])
        else:
            wanted = improved(node, everyone)
            scores = [
                p - visits / (1 + sum(tried)) for p, visits in zip(wanted, tried, strict=True)
            ]
        return best_at_random(scores, tie_seed, node, sum(tried))

    root = grow(opinion, c, choose)
    everyone = descendants(root)
    scores = root_score(root, everyone, max(root_visits(root)))
    return root, improved(root, everyone), best_at_random(scores, tie_seed, root, c.num_simulations)


def descendants(node):
    """All nodes below one."""
    children = list(node.children.values())
    return children + [below for child in children for below in descendants(child)]


def root_visits(root):
    """How often each action of a node was tried."""
    return [
        len(root.children[a].returns) if a in root.children else 0 for a in range(len(root.policy))
    ]


def naive_value_target(rewards, values, t, td_steps, discount):
    """n-step return at time `t` of one episode: `rewards` of its actions, `values` of its states.

    The state after the last action is worth nothing, and so is all that follows.
    """
    total = 0.0
    for step in range(td_steps):
        if t + step < len(rewards):
            total += discount**step * rewards[t + step]
    if t + td_steps < len(rewards):
        total += discount**td_steps * values[t + td_steps]
    return total


def naive_gae_target(rewards, values, t, steps, discount, decay):
    """Value plus generalised advantage at time `t` of one episode, cut after `steps`.

    The state after the last action is worth nothing.
    """
    if t >= len(values):
        return 0.0
    worth = [*values, 0.0]
    total = values[t]
    for step in range(min(steps, len(values) - t)):
        error = rewards[t + step] + discount * worth[t + step + 1] - worth[t + step]
        total += (discount * decay) ** step * error
    return total


def naive_prefix_target(rewards, k, horizon):
    """Sum of `rewards` up to and with the k-th, since the last multiple of `horizon`."""
    return sum(rewards[k // horizon * horizon : k + 1])


def naive_probabilities(priorities, exponent):
    """Chance of each priority to be drawn (Schaul et al. 2016, equation 1)."""
    total = sum(priority**exponent for priority in priorities)
    return [priority**exponent / total for priority in priorities]


def naive_importance(probabilities, drawn, exponent):
    """Weights of the entries `drawn` in one batch (Schaul et al. 2016, section 3.4)."""
    raw = [(1 / (len(probabilities) * probabilities[i])) ** exponent for i in drawn]
    return [weight / max(raw) for weight in raw]


@dataclass
class State:
    """One state that a naive replay was told of."""

    number: int  # in its environment's stream
    time: int  # in its episode
    episode: list  # of the states, this one among them
    is_terminal: bool = False
    action: int = -1
    reward: float = 0.0
    collected_at: int = 0
    weight: float | None = None  # priority ** exponent, None before it may be drawn


class NaiveReplay:
    """Everything that ever happened, as lists of states; nothing is overwritten."""

    def __init__(self, envs, stream_rows, guard_rows, lookahead, block=0):
        self.stream_rows, self.guard_rows, self.lookahead = stream_rows, guard_rows, lookahead
        self.block = block
        self.streams = [[] for _ in range(envs)]
        self.env_steps = 0

    def begin_episode(self, env):
        self.streams[env].append(State(len(self.streams[env]), 0, []))
        self.streams[env][-1].episode.append(self.streams[env][-1])

    def add(self, env, action, reward, is_episode_over):
        stream = self.streams[env]
        last = stream[-1]
        self.env_steps += 1
        last.action, last.reward, last.collected_at = action, reward, self.env_steps
        stream.append(State(len(stream), last.time + 1, last.episode, is_episode_over))
        last.episode.append(stream[-1])
        largest = max((state.weight for _, _, state in self.sampleable()), default=1.0)
        for state in last.episode:
            is_ready = is_episode_over or self.is_ready(state.time, len(last.episode) - 1)
            if state.weight is None and is_ready and not state.is_terminal:
                state.weight = largest

    def is_ready(self, time, now):
        """Whether a state may be drawn while its episode goes on."""
        if self.block:
            return now >= (time // self.block + 2) * self.block  # the block after its own is full
        return now - time >= self.lookahead

    @property
    def filled(self):
        """env_steps, or with blocks the states that could be drawn at some time."""
        if not self.block:
            return self.env_steps
        return sum(state.weight is not None for stream in self.streams for state in stream)

    def sampleable(self):
        """(row, env, state) of all that may be drawn, in the order of their rows."""
        found = []
        for env, stream in enumerate(self.streams):
            for state in stream:
                # How many more states the stream takes before this one's row is overwritten.
                room = state.number + self.stream_rows - (len(stream) - 1)
                if state.weight is not None and room >= self.guard_rows:
                    row = env * self.stream_rows + state.number % self.stream_rows
                    found.append((row, env, state))
        return sorted(found, key=lambda entry: entry[0])


def naive_one_step(opinion, num_actions, discount):
    """Q of each action, and the network's own value; an opinion of a path is (reward, value)."""
    q = []
    for action in range(num_actions):
        reward, value = opinion((action,))
        q.append(reward + discount * value)
    return q, opinion(())[1]
