"""Batches: what is gathered, in which order, of which type."""

import numpy as np
import pytest
import torch

from ezcli.efficientzero.assemble import make_batch, take
from ezcli.efficientzero.batch import Targets
from ezcli.efficientzero.frames import augment, augmentation_noise
from tests.efficientzero.helpers import filled_replay, tiny

SIZE, K = 6, 5


@pytest.fixture
def config():
    return tiny(f"loss.batch_size={SIZE}")


@pytest.fixture
def drawn(config):
    replay, frames = filled_replay(config)
    rng = np.random.default_rng(0)
    window = replay.sample(SIZE, np.array([0.4, 0.4, 0.4]), rng)
    n = 3 * SIZE
    targets = Targets(
        value_prefix=rng.normal(size=(n, K)).astype(np.float32),
        value=rng.normal(size=(n, K + 1)).astype(np.float32),
        policy=rng.dirichlet(np.ones(3), size=(n, K + 1)).astype(np.float32),
        has_policy=rng.random((n, K + 1)) < 0.5,
    )
    return replay, frames, window, targets


@pytest.mark.parametrize("number", [0, 1, 2])
def test_take_cuts_one_batch_out_of_several(drawn, number):
    _, _, window, targets = drawn
    for record in (window, targets):
        part = take(record, number, SIZE)
        assert type(part) is type(record)
        for whole, cut in zip(record, part, strict=True):
            np.testing.assert_array_equal(cut, whole[number * SIZE : (number + 1) * SIZE])


def test_a_batch_without_augmentation_is_what_was_seen(config, drawn):
    replay, frames, window, targets = drawn
    window, targets = take(window, 1, SIZE), take(targets, 1, SIZE)
    plain = config.loss.model_copy(update={"augmentation": False})
    batch = make_batch(window, targets, replay, frames, plain, np.random.default_rng(0))
    assert batch.observations.shape == (SIZE, K + 1, 4, 16, 16)
    for b in range(SIZE):
        for k in range(K + 1):
            stack = replay.stack_rows(window.rows[b, k : k + 1])
            expected = frames.observations(stack)[0].float() / 255
            torch.testing.assert_close(batch.observations[b, k], expected)
    np.testing.assert_array_equal(batch.actions, window.actions)
    np.testing.assert_array_equal(batch.is_state, window.is_state[:, : K + 1])
    np.testing.assert_array_equal(batch.weights, window.weights)
    for name in Targets._fields:
        np.testing.assert_array_equal(getattr(batch, name), getattr(targets, name))
    assert batch.actions.dtype == torch.int64
    for name in ("observations", "is_state", "value", "has_policy", "weights"):
        assert getattr(batch, name).dtype == torch.float32


def test_every_image_is_augmented_by_itself(config, drawn):
    replay, frames, window, targets = drawn
    window, targets = take(window, 0, SIZE), take(targets, 0, SIZE)
    batch = make_batch(window, targets, replay, frames, config.loss, np.random.default_rng(3))
    images = frames.observations(replay.stack_rows(window.rows[:, : K + 1].reshape(-1)))
    noise = augmentation_noise(np.random.default_rng(3), len(images), 2, 0.05)
    assert len(images) == SIZE * (K + 1)
    torch.testing.assert_close(batch.observations.flatten(0, 1), augment(images, *noise))
