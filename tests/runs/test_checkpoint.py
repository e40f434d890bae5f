"""Checkpoints are complete, small, verified, and restore everything."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch

from ezcli import files
from ezcli.runs import checkpoint
from ezcli.runs.compute import resolve_compute
from ezcli.runs.folder import RunFolder
from ezcli.runs.seals import sha256
from ezcli.runs.trainer import Trainer
from tests.failing import fails
from tests.runs.helpers import Watcher, contents, outcome, run, tiny

FRAMES_SEEN = 56 + 2 + 18  # of a tiny run: one a step, one for each start of a game of 3
SAVING = "record.checkpoint_minutes=0"  # after every event
FILES = (
    "manifest.json",
    "networks.safetensors",
    "replay.safetensors",
    "state.json",
    "weights.safetensors",
)


def manifest(path):
    return json.loads((path / "manifest.json").read_text())


def segments(path):
    return {segment["file"] for segment in manifest(path)["segments"]}


@pytest.fixture
def copied(stopped, tmp_path):
    """A run that was stopped after its 6th event, to be changed."""
    shutil.copytree(stopped.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def flip(path):
    """Changes one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def newest_segment(folder):
    """The frames that only the newest checkpoint needs."""
    before, last = checkpoint.checkpoint_paths(folder)
    (only,) = segments(last) - segments(before)
    return folder.frames / only


def remove(path):
    path.unlink()


FRAMES = "frames"
DAMAGES = [(file, harm) for file in (*FILES, FRAMES) for harm in (flip, truncate, remove)]


def label(value):
    return getattr(value, "__name__", value)


def damage(folder, file, harm):
    """Harms one file of the newest checkpoint; returns its name."""
    newest = checkpoint.checkpoint_paths(folder)[-1]
    path = newest_segment(folder) if file == FRAMES else newest / file
    harm(path)
    return path.name if file != FILES[0] else newest.name


def test_only_what_is_known_and_no_pickle(stopped):
    files = contents(stopped.checkpoints)
    assert {name.split("/")[1] for name in files} == set(FILES)
    for content in contents(stopped.path).values():
        assert not content.startswith((b"\x80", b"PK"))  # a pickle, or a zip of pickles


def test_the_manifest_says_what_is_there(stopped):
    config = tiny()
    for path in checkpoint.checkpoint_paths(stopped):
        found = manifest(path)
        assert found["identity"] == config.identity
        assert found["files"] == {file: sha256(path / file) for file in FILES[1:]}
        for segment in found["segments"]:
            assert segment["sha256"] == sha256(stopped.frames / segment["file"])
    assert (found["env_steps"], found["train_steps"]) == (48, 6)
    assert path.name == "step-000000048-000000006"


def test_the_last_two_stay_with_their_frames_and_nothing_else(stopped):
    paths = checkpoint.checkpoint_paths(stopped)
    assert [path.name for path in paths] == sorted(p.name for p in stopped.checkpoints.iterdir())
    assert len(paths) == 2
    assert len(segments(paths[1])) == 6  # one for each save
    assert {file.name for file in stopped.frames.iterdir()} == segments(paths[0]) | segments(
        paths[1]
    )


@pytest.mark.slow
def test_frames_are_written_once(stopped, tmp_path):
    before = contents(stopped.frames)
    shutil.copytree(stopped.path, tmp_path / "run")
    after = contents(run(tmp_path / "run", tiny("catch", SAVING)).frames)
    assert len(after) == len(before) + 1  # the 7th cycle is the last to collect
    assert {name: after[name] for name in before} == before
    held = sum(
        count for s in manifest(latest(tmp_path / "run"))["segments"] for *_, count in s["pieces"]
    )
    assert held == FRAMES_SEEN  # and each frame is in one segment


def latest(path):
    return checkpoint.checkpoint_paths(RunFolder(path))[-1]


@pytest.mark.slow
def test_frames_that_were_overwritten_are_dropped(tmp_path):
    """Each stream keeps 26 states, and more than 36 come: the first two of seven segments go."""
    folder = run(tmp_path / "run", tiny("catch", "replay.capacity=52", SAVING))
    before, last = checkpoint.checkpoint_paths(folder)
    assert {file.name for file in folder.frames.iterdir()} == segments(before) | segments(last)
    assert len(segments(last)) == 5


def trainer_after(events, *overrides):
    """A trainer after some cycles, without anything on disk."""
    config = tiny("catch", *overrides)
    trainer = Trainer(config, resolve_compute(config.compute))
    for number, _ in enumerate(trainer.events(), 1):
        if number == events:
            return trainer
    raise AssertionError("the run is shorter")


@pytest.mark.parametrize(
    ("events", "capacity"),
    [
        pytest.param(2, 1000, marks=pytest.mark.slow),
        (5, 1000),
        pytest.param(9, 52, marks=pytest.mark.slow),
    ],
)
def test_everything_is_restored(events, capacity, tmp_path):
    folder, option = RunFolder(tmp_path / "run"), f"replay.capacity={capacity}"
    folder.create(tiny("catch", option))
    was = trainer_after(events, option)
    checkpoint.save(was, folder)
    found, complaints = checkpoint.newest(folder)
    assert complaints == []
    now = Trainer(was.config, was.compute)
    checkpoint.restore(now, found, folder)

    for name, array in checkpoint.replay_arrays(was).items():
        assert np.array_equal(checkpoint.replay_arrays(now)[name], array), name
    before, after = checkpoint.network_tensors(was), checkpoint.network_tensors(now)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(name.startswith("optimiser.") for name in before) == (events > 3)
    weights = now.learner.network.state_dict()
    assert all(torch.equal(weights[k], v) for k, v in was.learner.network.state_dict().items())
    written = was.replay.arrays.state_id >= 0
    assert torch.equal(now.frames.frames[written], was.frames.frames[written])
    assert {n: s.bit_generator.state for n, s in now.streams.items()} == {
        n: s.bit_generator.state for n, s in was.streams.items()
    }
    assert now.envs.save() == was.envs.save()
    assert vars(now.metrics) == vars(was.metrics)
    assert (now.drawn is None) == (was.drawn is None) == (events == 2)
    assert (now.drawn_steps, now.learner.train_steps, now.replay.env_steps, now.is_started) == (
        was.drawn_steps,
        was.learner.train_steps,
        was.replay.env_steps,
        True,
    )


@pytest.mark.parametrize(("file", "harm"), DAMAGES, ids=label)
def test_a_damaged_one_gives_way_to_the_one_before(file, harm, copied):
    before, _ = checkpoint.checkpoint_paths(copied)
    name = damage(copied, file, harm)
    found, (complaint,) = checkpoint.newest(copied)
    assert found.path == before
    assert name in complaint


# Gone, or there but harmed: later saves must neither trip over it nor count it among the two.
@pytest.mark.parametrize(
    ("file", "harm"),
    [
        ("manifest.json", remove),
        pytest.param(FRAMES, flip, marks=pytest.mark.slow),
        pytest.param("weights.safetensors", flip, marks=pytest.mark.slow),
        pytest.param("state.json", truncate, marks=pytest.mark.slow),
        pytest.param("manifest.json", truncate, marks=pytest.mark.slow),
        pytest.param(FRAMES, remove, marks=pytest.mark.slow),
    ],
    ids=label,
)
def test_a_run_recovers_from_damage(file, harm, copied, undisturbed):
    name = damage(copied, file, harm)
    watcher = Watcher(stop_after=1)
    run(copied.path, tiny("catch", SAVING), watcher)
    assert name in watcher.said[0]
    assert watcher.said[0].endswith("Going back to the checkpoint before.")
    for path in checkpoint.checkpoint_paths(copied):
        checkpoint.verified(path, copied)
    run(copied.path, tiny("catch", SAVING))
    assert len(checkpoint.checkpoint_paths(copied)) == 2
    assert outcome(copied) == undisturbed


def test_after_damage_a_save_between_the_two_is_kept(copied):
    before, last = checkpoint.checkpoint_paths(copied)
    flip(last / "weights.safetensors")
    found, _ = checkpoint.newest(copied)
    checkpoint.drop_after(found, copied)
    assert checkpoint.checkpoint_paths(copied) == [before]


def test_when_all_are_damaged_it_says_which_files(copied):
    for path in checkpoint.checkpoint_paths(copied):
        flip(path / "replay.safetensors")
    before = contents(copied.checkpoints)
    files = [str(path / "replay.safetensors") for path in checkpoint.checkpoint_paths(copied)]
    with fails("EZ-CHECKPOINT-NONE-WHOLE", *files, "--name"):
        run(copied.path, tiny())
    assert contents(copied.checkpoints) == before


def test_one_of_another_format_is_refused(copied):
    for path in checkpoint.checkpoint_paths(copied):
        (path / "manifest.json").write_text(json.dumps(manifest(path) | {"format": 99}))
    with fails("EZ-CHECKPOINT-NONE-WHOLE", "manifest.json", "format 99", "2"):
        checkpoint.newest(copied)


def test_one_of_another_config_is_refused(copied):
    config = tiny("catch", "seed=3")
    found, _ = checkpoint.newest(copied)
    with fails("EZ-CHECKPOINT-OTHER-CONFIG", str(found.path), config.identity):
        checkpoint.restore(Trainer(config, resolve_compute(config.compute)), found, copied)


def test_a_run_without_any_starts_anew(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert checkpoint.newest(folder) == (None, [])
    folder.create(tiny())
    assert checkpoint.newest(folder) == (None, [])


def test_drafts_are_neither_read_nor_kept(copied):
    draft = copied.checkpoints / ".tmp-step-000000999-000000999"
    draft.mkdir()
    (draft / "weights.safetensors").touch()
    (copied.frames / ".tmp-1.zst").touch()
    assert draft not in checkpoint.checkpoint_paths(copied)
    checkpoint.prune(copied)
    assert not list(copied.path.rglob(".tmp-*"))


def test_a_failed_save_leaves_the_last_ones(copied, monkeypatch):
    before = contents(copied.checkpoints)
    found, _ = checkpoint.newest(copied)
    trainer = Trainer(tiny(), resolve_compute(tiny().compute))
    checkpoint.restore(trainer, found, copied)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "arrays_to_bytes", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(trainer, copied)
    assert checkpoint.newest(copied)[0].path == found.path
    assert contents(copied.checkpoints).items() >= before.items()


def test_a_file_that_may_not_be_read_is_not_given_up(copied, monkeypatch):
    """Going back to the checkpoint before would remove the newer one."""

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint, "sha256", refused)
    with pytest.raises(PermissionError):
        checkpoint.newest(copied)


def test_a_save_brings_no_removed_run_back(copied):
    found, _ = checkpoint.newest(copied)
    trainer = Trainer(tiny(), resolve_compute(tiny().compute))
    checkpoint.restore(trainer, found, copied)
    shutil.rmtree(copied.path)
    with pytest.raises(FileNotFoundError):
        checkpoint.save(trainer, copied)
    assert not copied.path.exists()


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors", "metrics.jsonl"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE])
def test_what_cannot_be_read_now_is_not_damaged(file, number, copied, monkeypatch):
    """Else the newest checkpoint would be given up, and removed."""
    before = contents(copied.path)
    open_plain = files.open_plain

    def refusing(path, *arguments):
        if path.name == file:
            raise OSError(number, os.strerror(number), str(path))
        return open_plain(path, *arguments)

    monkeypatch.setattr(files, "open_plain", refusing)
    with pytest.raises(OSError, match=os.strerror(number)):
        checkpoint.newest(copied)
    monkeypatch.undo()
    assert contents(copied.path) == before
