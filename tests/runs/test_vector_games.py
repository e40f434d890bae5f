"""A run whose observations are vectors: trained, resumed, scored, watched and drawn."""

import numpy as np
import pytest

from ezcli.config.files import preset_path, read_toml
from ezcli.config.resolve import resolve
from ezcli.film.drawing import to_rgb
from ezcli.runs.agent import load_agent
from ezcli.runs.folder import RunFolder
from ezcli.runs.scoring import evaluate_run
from ezcli.runs.watch import play
from tests.failing import fails
from tests.runs.helpers import TINY, interrupted, outcome, run

WALK = """
import numpy as np
from ezcli.envs.protocol import EnvSpec, Step


class Walk:
    def __init__(self, settings, evaluation):
        self.spec = EnvSpec((1, 1, 3), ("left", "right"), {"name": "walk"}, "float32")

    def seen(self):
        return np.array([[[self.place / 3, self.steps / 9, -0.1]]], np.float32)

    def reset(self, seed):
        self.place, self.steps = seed % 3 - 1, 0
        return self.seen()

    def step(self, action):
        self.place += 2 * action - 1
        self.steps += 1
        over = abs(self.place) == 3
        return Step(self.seen(), float(over) / 3, over, over)
"""


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """A config of a game of vectors, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walk.py").write_text(WALK)
    return config()


def config(*overrides):
    caps = {"max_episode_steps": 9, "evaluation_max_episode_steps": 9}
    env = {"name": "custom", "target": "walk.py:Walk", "frame_stack": 2, **caps}
    tables = read_toml(preset_path("smoke")) | {"env": env}
    settings = ['network.representation="mlp"', "loss.augmentation=false"]
    return resolve(tables, [*TINY, *settings, *overrides])


def test_a_run_of_vectors_is_resumed_bit_for_bit_and_can_be_looked_at(walk, tmp_path):
    whole = run(tmp_path / "whole", walk)
    assert outcome(whole) == interrupted(tmp_path / "parts", walk, 3, 6)
    assert len(evaluate_run(whole, walk)["scores"]) == 2
    agent = load_agent(whole, walk)
    moments = list(play(agent, walk, 0, 9))
    assert {moment.frame.dtype for moment in moments} == {np.dtype("float32")}
    assert to_rgb(moments[0].frame).shape == (1, 3, 3)


@pytest.mark.parametrize("auxiliary", ["spr", "contrastive", "reconstruction", "none"])
def test_every_auxiliary_loss_takes_vectors(walk, tmp_path, auxiliary):
    folder = run(tmp_path / "run", config(f"loss.auxiliary={auxiliary}"))
    assert folder.read_info()["status"] == "finished"


def test_a_number_of_a_vector_is_a_shade():
    frame = np.array([[[-2, -1, 0, 1, 2]]], np.float32)
    assert to_rgb(frame)[0, :, 0].tolist() == [0, 0, 127, 255, 255]


def test_vectors_need_the_perceptron(walk, tmp_path):
    with fails("EZ-ENV-VECTOR", "'Walk'", 'network.representation="mlp"'):
        run(tmp_path / "run", config('network.representation="convolutional"'))
    assert not RunFolder(tmp_path / "run").exists


@pytest.mark.parametrize(
    ("there", "here", "named"),
    [
        ("-0.1", "[0, 0, float('nan')][self.steps % 3]", "not finite"),
        ('"float32"', '"float16"', "float16"),
        ("np.float32", "np.float64", "float64"),
        ('"right"), {"name": "walk"}, "float32"', '"right"), {"name": "walk"}', "float32"),
    ],
)
def test_a_frame_that_breaks_the_contract_is_refused(walk, tmp_path, there, here, named):
    assert there in WALK
    (tmp_path / "walk.py").write_text(WALK.replace(there, here))
    with fails("EZ-ENV-CONTRACT", "'Walk'", named):
        run(tmp_path / "run", walk)


def test_an_expected_vector_has_the_type_of_a_frame(walk, tmp_path):
    settings = config("loss.auxiliary=reconstruction")
    agent = load_agent(run(tmp_path / "run", settings), settings)
    first, *others = play(agent, settings, 0, 9)
    assert first.expected is None
    for moment in others:
        assert (moment.expected.dtype, moment.expected.shape) == (np.float32, moment.frame.shape)
