"""Observations, and augmentation against padding and cropping."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ezcli.efficientzero.frames import FrameStore, RecentFrames, augment, augmentation_noise


def test_an_observation_stacks_frames_oldest_first():
    store = FrameStore(5, (2, 3, 4), torch.device("cpu"))
    frames = np.random.default_rng(0).integers(256, size=(5, 2, 3, 4), dtype=np.uint8)
    for row in (4, 0, 2, 1, 3):
        store.write(row, frames[row])
    rows = np.array([[0, 0, 1], [4, 2, 3]])
    found = store.observations(rows)
    assert found.dtype == torch.uint8
    assert found.shape == (2, 6, 3, 4)
    for n in range(2):
        np.testing.assert_array_equal(found[n], np.concatenate(frames[rows[n]]))


def test_frames_of_any_memory_layout_can_be_written():
    store = FrameStore(1, (3, 4, 5), torch.device("cpu"))
    image = np.random.default_rng(0).integers(256, size=(4, 5, 3), dtype=np.uint8)
    store.write(0, image.transpose(2, 0, 1))
    np.testing.assert_array_equal(store.frames[0], image.transpose(2, 0, 1))


@pytest.mark.parametrize("pixels", [0, 1, 4, 7])
def test_augment_equals_replicating_the_edge_and_cropping(pixels):
    rng = np.random.default_rng(pixels)
    images = torch.from_numpy(rng.integers(256, size=(40, 3, 10, 12), dtype=np.uint8))
    shift = rng.integers(-pixels, pixels + 1, size=(40, 2))
    intensity = rng.uniform(0.9, 1.1, 40).astype(np.float32)
    found = augment(images, shift, intensity)
    assert found.dtype == torch.float32
    assert found.shape == images.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    padded = F.pad(images.float(), (pixels,) * 4, mode="replicate") / 255
    for n, (down, right) in enumerate(shift + pixels):
        crop = padded[n, :, down : down + 10, right : right + 12] * float(intensity[n])
        torch.testing.assert_close(found[n], crop)


def test_no_shift_and_no_change_of_intensity_leave_the_image():
    images = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    found = augment(images, np.zeros((2, 2), np.int64), np.ones(2, np.float32))
    torch.testing.assert_close(found, images.float() / 255)


def test_shifts_take_every_value_up_to_the_largest_both_ways():
    shift, _ = augmentation_noise(np.random.default_rng(0), 5000, 4, 0.05)
    assert shift.shape == (5000, 2)
    for axis in range(2):
        values, counts = np.unique(shift[:, axis], return_counts=True)
        assert values.tolist() == list(range(-4, 5))
        assert counts.min() > 5000 / 9 * 0.8
    assert abs(np.corrcoef(shift.T)[0, 1]) < 0.05


def test_intensity_is_normal_and_cut_at_two_deviations():
    _, intensity = augmentation_noise(np.random.default_rng(0), 20_000, 4, 0.05)
    assert intensity.dtype == np.float32
    assert intensity.min() == pytest.approx(0.9)
    assert intensity.max() == pytest.approx(1.1)
    assert intensity.mean() == pytest.approx(1, abs=1e-3)
    # A normal cut at two deviations has 0.9594 of its deviation left, and 4.55 % on the edges.
    assert intensity.std() == pytest.approx(0.05 * 0.9594, rel=0.02)
    on_the_edges = np.isclose(intensity, 0.9) | np.isclose(intensity, 1.1)
    assert on_the_edges.mean() == pytest.approx(0.0455, abs=0.006)


def test_no_pixels_and_no_scale_mean_no_noise():
    shift, intensity = augmentation_noise(np.random.default_rng(0), 10, 0, 0.0)
    assert not shift.any()
    assert (intensity == 1).all()


def test_recent_frames_are_the_last_ones_of_each_game_by_definition():
    """Games of different lengths; the list of all frames, padded with the first, is the oracle."""
    rng, depth = np.random.default_rng(0), 3
    seen = [[frame] for frame in rng.integers(256, size=(2, 2, 3, 4), dtype=np.uint8)]
    recent = RecentFrames([frames[0] for frames in seen], depth, torch.device("cpu"))
    for game in (0, 0, 1, 0, 0, 1, 0):
        frame = rng.integers(256, size=(2, 3, 4), dtype=np.uint8)
        recent.add(game, frame)
        seen[game].append(frame)
        for games in ([0, 1], [1]):
            expected = [
                np.concatenate(([seen[one][0]] * depth + seen[one])[-depth:]) for one in games
            ]
            np.testing.assert_array_equal(recent.observations(games), np.stack(expected))
