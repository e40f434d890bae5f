"""Writes the golden files: `python -m tests.golden.make`.

A change that should not alter results leaves them as they are. One that should is listed in the
CHANGELOG under "Changed results", and makes them anew.
"""

import json
from pathlib import Path

import numpy as np
import torch

from ezcli.efficientzero.components import rules_for
from ezcli.efficientzero.learner import STEP_METRICS, Learner
from ezcli.efficientzero.search import Evaluation, search
from ezcli.efficientzero.tree import PuctConstants
from tests.efficientzero.helpers import make_network, random_batch, tiny
from tests.oracles import FakeNetwork

FOLDER = Path(__file__).parent
TRAIN_STEPS = 20


def loss_trace():
    """The metrics of 20 train_steps of a tiny network on a fixed stream of batches."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # A low rate and a larger batch: then rounding does not grow from step to step.
        config = tiny(
            "loss.batch_size=64",
            "network.channels=8",
            "network.head_hidden=16",
            "optimiser.learning_rate=0.005",
            "optimiser.warmup_fraction=0.2",
            "optimiser.decayed_train_steps=5",
            "schedule.env_steps=80",
            "schedule.final_train_steps=20",
        )
        assert config.schedule.train_steps == TRAIN_STEPS
        learner = Learner(make_network(config), config, rules_for(config), "float32")
        trace = []
        for step in range(TRAIN_STEPS):
            found = learner.step(random_batch(config, seed=step))
            numbers = [*found.metrics.tolist(), found.errors.mean().item()]
            trace.append([float(f"{number:.6g}") for number in numbers])
    finally:
        torch.set_num_threads(threads)
    return {"columns": [*STEP_METRICS, "value_error"], "trace": trace}


def search_visits():
    """Visit counts of a fake network's searches: integers only, the same on every machine."""
    found = []
    for num_actions in (2, 6, 18):
        for horizon in (1, 5):
            network = FakeNetwork([1, 2, 3], num_actions)
            constants = PuctConstants(50, 0.988, 1.25, 19652.0, 0.01, horizon)
            tree = search(
                Evaluation(*network.root()),
                lambda node, parents, actions, network=network: Evaluation(
                    *network.evaluate(parents, actions)
                ),
                constants,
                np.array([1, 2, 3]),
            )
            found.append(
                {
                    "num_actions": num_actions,
                    "prefix_horizon": horizon,
                    "root_visits": tree.root_visits.tolist(),
                    "depth": tree.depth.max(1).tolist(),
                }
            )
    return found


GOLDEN = {"loss_trace.json": loss_trace, "search_visits.json": search_visits}


def main():
    for name, make in GOLDEN.items():
        text = json.dumps(make())
        text = text.replace("}, ", "},\n").replace("], [", "],\n[") + "\n"
        (FOLDER / name).write_text(text)
        print(f"wrote {FOLDER / name}")


if __name__ == "__main__":
    main()
