"""Checkpoints are complete, small, verified, and restore everything."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import torch

from ezcli import files, schema
from ezcli.runs import checkpoint, storage
from ezcli.runs.compute import resolve_compute
from ezcli.runs.folder import RunFolder
from ezcli.runs.seals import checksum, sha256
from ezcli.runs.trainer import Trainer
from ezcli.state import Blob, is_array
from tests.failing import fails
from tests.runs.helpers import Watcher, contents, make_old, outcome, run, tiny

FRAMES_SEEN = 56 + 2 + 18  # of a tiny run: one a step, one for each start of a game of 3
SAVING = "record.checkpoint_minutes=0"  # after every event
FILES = (
    "manifest.json",
    "copies.safetensors",
    "draw.safetensors",
    "learner.safetensors",
    "reanalyser.safetensors",
    "replay.safetensors",
    "state.json",
    "weights.safetensors",
)


def manifest(path):
    return json.loads((path / "manifest.json").read_text())


def segments(path):
    return {file.removeprefix("frames/") for file in manifest(path)["blobs"]}


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
        is_safetensors = content[8:10] == b'{"'  # its header follows the length of it
        assert is_safetensors or not content.startswith((b"\x80", b"PK"))  # pickle, or zip of them


def test_the_manifest_says_what_is_there(stopped):
    config = tiny()
    for path in checkpoint.checkpoint_paths(stopped):
        found = manifest(path)
        assert found["identity"] == config.identity
        assert found["files"] == {file: sha256(path / file) for file in FILES[1:]}
        for file, digest in found["blobs"].items():
            assert digest == sha256(stopped.path / file)
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
    state = json.loads((latest(tmp_path / "run") / "state.json").read_text())
    pieces = state["frames"]["pieces"].values()
    held = sum(count for segment in pieces for *_, count in segment)
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

    require_same(now.state(), was.state())
    has_optimiser = any(name.startswith("optimiser.") for name in now.state()["learner"])
    assert has_optimiser == (events > 3)
    written = was.replay.arrays.state_id >= 0
    assert torch.equal(now.frames.frames[written], was.frames.frames[written])
    assert (now.ahead.drawn is None) == (was.ahead.drawn is None) == (events == 2)
    assert now.is_started


def require_same(one, other):
    """Two states of a trainer hold the same, to the last bit."""
    assert one.keys() == other.keys()
    for part in one:
        assert one[part].keys() == other[part].keys(), part
        for name, value in one[part].items():
            twin = other[part][name]
            if is_array(value):
                assert value.dtype == twin.dtype, (part, name)
                assert np.array_equal(value, twin), (part, name)
            elif isinstance(value, Blob):
                assert value.sha256 == twin.sha256, (part, name)
            else:
                assert json.loads(json.dumps(value)) == json.loads(json.dumps(twin)), (part, name)


class Counter:
    """A part that the trainer does not have: it counts, and keeps an array and a blob."""

    def __init__(self):
        self.count, self.array, self.text = 0, np.zeros(3), b""

    def state(self):
        text = self.text
        return {"count": self.count, "array": self.array, "text": Blob(lambda: iter([text]))}

    def restore(self, state):
        self.count, self.array = state["count"], np.asarray(state["array"])
        self.text = b"".join(state["text"].chunks())


def test_a_part_more_is_saved_and_restored_as_any(tmp_path):
    folder, was = RunFolder(tmp_path / "run"), trainer_after(3)
    folder.create(was.config)
    was.parts["counter"] = Counter()
    vars(was.parts["counter"]).update(count=7, array=np.arange(3.0), text=b"stored once")
    checkpoint.save(was, folder)
    now = Trainer(was.config, was.compute)
    now.parts["counter"] = Counter()
    checkpoint.restore(now, checkpoint.newest(folder)[0], folder)
    restored = now.parts["counter"]
    assert (restored.count, restored.array.tolist()) == (7, [0, 1, 2])
    assert restored.text == b"stored once"
    assert (folder.path / "counter" / "text.zst").is_file()


@pytest.mark.parametrize("owner", ["was", "now"])
def test_a_part_that_only_one_of_them_has_is_named(owner, tmp_path):
    folder, was = RunFolder(tmp_path / "run"), trainer_after(3)
    now = Trainer(was.config, was.compute)
    folder.create(was.config)
    {"was": was, "now": now}[owner].parts["counter"] = Counter()
    checkpoint.save(was, folder)
    with fails("EZ-CHECKPOINT-CONTENT", "'counter'"):
        checkpoint.restore(now, checkpoint.newest(folder)[0], folder)


def test_each_part_takes_what_it_gives_and_nothing_more():
    was = trainer_after(5)
    now = Trainer(was.config, was.compute)
    given = was.state()
    assert given.keys() == now.parts.keys()
    for name, part in now.parts.items():  # a part may look at those before it
        part.restore(given[name])
        require_same({name: part.state()}, {name: given[name]})
        with fails("EZ-CHECKPOINT-CONTENT", "one-more"):
            part.restore(given[name] | {"one-more": np.zeros(3)})


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
    assert watcher.said[0].endswith("Using the checkpoint before.")
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


def test_one_of_a_later_version_is_neither_read_nor_removed(copied):
    path = latest(copied.path)
    table = manifest(path) | {"schema": schema.SCHEMA + 1}
    del table["sha256"]
    (path / "manifest.json").write_text(json.dumps(table | {"sha256": checksum(table)}))
    before = contents(copied.checkpoints)
    with fails("EZ-SCHEMA-NEWER", str(path / "manifest.json")):
        run(copied.path, tiny())
    assert contents(copied.checkpoints) == before


@pytest.mark.parametrize("number", [1, 2])
def test_one_of_an_earlier_format_is_restored(number, copied):
    found, _ = checkpoint.newest(copied)
    was, now = (Trainer(tiny(), resolve_compute(tiny().compute)) for _ in range(2))
    checkpoint.restore(was, found, copied)
    make_old(copied, number)
    assert not (found.path / "copies.safetensors").exists()
    found, complaints = checkpoint.newest(copied)
    checkpoint.restore(now, found, copied)
    assert complaints == []
    require_same(now.state(), was.state())


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
    checkpoint.prune(copied, copied.config().record)
    assert not list(copied.path.rglob(".tmp-*"))


def test_a_failed_save_leaves_the_last_ones(copied, monkeypatch):
    before = contents(copied.checkpoints)
    found, _ = checkpoint.newest(copied)
    trainer = Trainer(tiny(), resolve_compute(tiny().compute))
    checkpoint.restore(trainer, found, copied)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(storage, "arrays_to_bytes", full)
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
