"""Forged checkpoints with valid checksums and senseless content.

Each alteration is refused in a sentence that names the file, or the part and the entry.
"""

import json
import re
import shutil
from itertools import islice

import numpy as np
import pytest
import zstandard
from safetensors.numpy import load_file, save_file

from ezcli.efficientzero.learner import STEP_METRICS
from ezcli.errors import CheckpointError, EzError
from ezcli.runs import checkpoint
from ezcli.runs.agent import load_agent
from ezcli.runs.compute import resolve_compute
from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from ezcli.runs.metrics import WindowState
from ezcli.runs.scoring import evaluate_run
from ezcli.runs.seals import checksum, sha256
from ezcli.runs.storage import MANIFEST, STATE, StoredArray, stored_arrays
from ezcli.runs.train import train
from ezcli.runs.trainer import Trainer
from ezcli.runs.watch import play
from tests.failing import fails
from tests.runs.helpers import Watcher

pytestmark = pytest.mark.slow

NETWORKS = ("weights", "copies")
HUGE = 2**200
ODD_VALUES = (None, True, "text", -1, HUGE, 0.5, [], {}, [[[]]], float("nan"), float("inf"))


@pytest.fixture
def forged(stopped, tmp_path):
    """A run with one checkpoint, to be forged."""
    folder = RunFolder(shutil.copytree(stopped.path, tmp_path / "run"))
    for path in checkpoint.checkpoint_paths(folder)[:-1]:
        shutil.rmtree(path)
    return folder


def place(folder):
    """Where its checkpoint is."""
    return checkpoint.checkpoint_paths(folder)[-1]


def seal(folder, change=lambda manifest: None):
    """Makes all checksums hold again, after a change of the manifest."""
    path = place(folder)
    manifest = json.loads((path / MANIFEST).read_text())
    manifest["files"] = {file: sha256(path / file) for file in manifest["files"]}
    manifest["blobs"] = {file: sha256(folder.path / file) for file in manifest["blobs"]}
    del manifest["sha256"]
    manifest = change(manifest) or manifest
    if isinstance(manifest, dict):
        manifest["sha256"] = checksum(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def arrays(folder, part, **changes):
    """Changes arrays of a part; a change is a function, or None to remove it."""
    path = place(folder) / f"{part}.safetensors"
    found = load_file(path)
    for name, change in changes.items():
        key = next((key for key in found if re.fullmatch(name, key)), name)
        if change is None:
            del found[key]
        else:
            found[key] = np.ascontiguousarray(change(found.get(key)))
    save_file(found, path)
    seal(folder)


def filled(value, dtype=None):
    """Every entry is `value`."""
    return lambda array: np.full_like(array, value, dtype=dtype)


def commands(folder):
    """What each command says: None where it raises nothing."""
    said = {}
    config = folder.config()

    def watch():
        agent = load_agent(folder, config, lambda text: None)
        list(islice(play(agent, config, 0, 3), 3))

    for name, command in {
        "doctor": lambda: list(examine(folder)),
        "evaluate": lambda: evaluate_run(folder, config),
        "watch": watch,
        "resume": lambda: train(config, folder, Watcher()),
    }.items():
        try:
            command()
            said[name] = None
        except EzError as error:
            said[name] = error.message
    return said


def require_refused(folder, named):
    """Every command ends in a sentence or well; `resume` names the file or part."""
    said = commands(folder)
    assert said["resume"] is not None
    assert named in said["resume"]
    assert len(said["resume"]) < 600
    if named in (MANIFEST, "weights"):
        assert said["evaluate"] is not None
        assert said["watch"] is not None


def test_sealing_anew_changes_nothing(forged):
    """What is refused below is refused for what was altered."""
    seal(forged)
    assert set(commands(forged).values()) == {None}


# ------------------------------------------------------------------ JSON


def all_paths(value, path=()):
    """The place of every entry, only the first of a list."""
    if isinstance(value, dict):
        for key in value:
            yield (*path, key)
            yield from all_paths(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield (*path, 0)
        yield from all_paths(value[0], (*path, 0))


def entry_of(table, path):
    """The entry at a place."""
    for key in path:
        table = table[key]
    return table


def is_like(one, other):
    """Whether an odd value may be taken for the entry that it stands in for."""
    if isinstance(one, float | int) and isinstance(other, float) and not isinstance(one, bool):
        return True  # judged by its range
    return type(one) is type(other)


@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
def test_a_state_with_an_odd_entry_is_refused(forged, trainer, odd):
    """Every entry of state.json is given every odd value; the rest of it stays as it was."""
    whole = json.loads((place(forged) / STATE).read_text())
    refused = 0
    for path in all_paths(whole):
        if is_like(odd, entry_of(whole, path)):
            continue
        table = json.loads(json.dumps(whole))
        entry_of(table, path[:-1])[path[-1]] = odd
        (place(forged) / STATE).write_text(json.dumps(table))
        seal(forged)
        with pytest.raises(CheckpointError) as caught:
            restore(forged, trainer)
        assert path[0] in caught.value.message
        refused += 1
    assert refused > 20


@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
def test_a_manifest_with_an_odd_entry_is_refused(forged, trainer, odd):
    """Every entry of manifest.json but its checksum is given every odd value."""
    seal(forged)
    whole = json.loads((place(forged) / MANIFEST).read_text())
    for path in all_paths(whole):
        if path[-1] == "sha256" and len(path) == 1:
            continue
        table = json.loads(json.dumps(whole))
        if entry_of(table, path) == odd:
            continue
        entry_of(table, path[:-1])[path[-1]] = odd
        del table["sha256"]
        (place(forged) / MANIFEST).write_text(json.dumps(table | {"sha256": checksum(table)}))
        with pytest.raises(EzError) as caught:
            restore(forged, trainer)
        assert "step-" in caught.value.message


def restore(folder, trainer):
    """What `ez resume` does with the newest checkpoint."""
    checkpoint.restore(trainer, checkpoint.newest(folder)[0], folder)


@pytest.fixture(scope="module")
def trainer(stopped):
    """A fresh one; what is refused leaves it as it was."""
    config = stopped.config()
    return Trainer(config, resolve_compute(config.compute))


# Entries of state.json that checkpoints of an older version may lack.
LATER = [("metrics", name) for name, f in WindowState.model_fields.items() if not f.is_required()]
LATER += [("metrics", "training", name) for name in STEP_METRICS]


@pytest.mark.parametrize("file", [STATE, MANIFEST])
def test_missing_and_extra_entries_are_refused(forged, trainer, file):
    whole = json.loads((place(forged) / file).read_text())
    for path in [path for path in all_paths(whole) if isinstance(path[-1], str)]:
        for change in ("remove", "add"):
            table = json.loads(json.dumps(whole))
            parent = entry_of(table, path[:-1])
            if change == "remove" and (path[-1] == "draw.safetensors" or path in LATER):
                continue  # as if nothing were drawn yet, or of a version without the entry
            if change == "remove":
                del parent[path[-1]]
            else:
                parent[path[-1] + "-more"] = parent[path[-1]]
            if file == MANIFEST and "sha256" in table:
                del table["sha256"]
                table["sha256"] = checksum(table)
                if path == ("sha256",):
                    continue
            (place(forged) / file).write_text(json.dumps(table))
            if file == STATE:
                seal(forged)
            with pytest.raises(CheckpointError) as caught:
                restore(forged, trainer)
            assert (path[0] if file == STATE else "step-") in caught.value.message


@pytest.mark.parametrize("content", ["[]", "", "\0", "[" * 10**5, "9" * 5000, '{"a": ' * 10**4])
@pytest.mark.parametrize("file", [STATE, MANIFEST])
def test_what_is_no_table_is_refused(forged, file, content):
    (place(forged) / file).write_text(content)
    if file == STATE:
        seal(forged)
    require_refused(forged, file)


def game(table, **changes):
    table["environments"]["games"][0].update(changes)


STATES = {
    "steps beyond": lambda t: t["replay"].update(env_steps=10**6),
    "train_steps beyond": lambda t: t["learner"].update(train_steps=10**6),
    "an action beyond": lambda t: game(t, actions=[0, 99]),
    "a negative action": lambda t: game(t, actions=[-1]),
    "actions of no end": lambda t: game(t, actions=[0] * 10**6),
    "a huge seed": lambda t: game(t, seed=2**31),
    "no games": lambda t: t["environments"].update(games=[]),
    "a game more": lambda t: t["environments"]["games"].append(t["environments"]["games"][0]),
    "a stream of MT19937": lambda t: t["streams"]["acting"].update(bit_generator="MT19937"),
    "an even increment": lambda t: t["streams"]["acting"]["state"].update(inc=2),
    "a state beyond": lambda t: t["streams"]["acting"]["state"].update(state=2**128),
    "a wide window": lambda t: t["metrics"].update(acting=[[0.0] * 99]),
    "rows without names": lambda t: t["metrics"].update(training=[[0.0] * 6]),
    "an unknown loss": lambda t: t["metrics"]["training"].update(absent=[0.0]),
    "a narrow window": lambda t: t["metrics"].update(acting=[[]]),
    "an infinite score": lambda t: t["metrics"].update(games=[[float("inf"), 1.0]]),
    "a score of NaN": lambda t: t["metrics"].update(games=[[float("nan"), 1.0]]),
    "a huge score": lambda t: t["metrics"].update(games=[[1e300, 1.0]]),
    "work of NaN": lambda t: t["metrics"].update(work=[[float("nan")] * 5]),
    "many wrong rows": lambda t: t["metrics"].update(work=[[]] * 10**5),
}


@pytest.mark.parametrize("alteration", STATES)
def test_a_state_out_of_range_is_refused(forged, alteration):
    path = place(forged) / STATE
    table = json.loads(path.read_text())
    before = json.loads(json.dumps(table))
    STATES[alteration](table)
    path.write_text(json.dumps(table))
    seal(forged)
    (part,) = (name for name in table if table[name] != before[name])
    require_refused(forged, f"{part}: ")


# ------------------------------------------------------------------ manifest


def pieces(change):
    def alter(pieces):
        pieces[max(pieces)] = change(pieces[max(pieces)])

    return alter


PIECES = {
    "a stream beyond": pieces(lambda p: [[9, *p[0][1:]], *p[1:]]),
    "states beyond": pieces(lambda p: [[*p[0][:2], 10**9], *p[1:]]),
    "no states": pieces(lambda p: [[*p[0][:2], 0], *p[1:]]),
    "a start beyond": pieces(lambda p: [[p[0][0], 10**9, 1], *p[1:]]),
    "the same again": pieces(lambda p: [*p, *p]),
    "a piece less": pieces(lambda p: p[:-1]),
    "no segments": lambda p: p.clear(),
    "a segment more": lambda p: p.update(more=p[max(p)]),
    "a segment less": lambda p: p.pop(max(p)),
}


@pytest.mark.parametrize("alteration", PIECES)
def test_frames_that_do_not_fit_the_replay_are_refused(forged, alteration):
    path = place(forged) / STATE
    table = json.loads(path.read_text())
    PIECES[alteration](table["frames"]["pieces"])
    path.write_text(json.dumps(table))
    seal(forged)
    require_refused(forged, "frames: ")


MANIFESTS = {
    "no state": lambda m: m["files"].pop(STATE),
    "a file elsewhere": lambda m: m["files"].update({"../../config.json": "0" * 64}),
    "a blob elsewhere": lambda m: m["blobs"].update({"../frames/x.zst": "0" * 64}),
    "no records": lambda m: m.update(records={}),
    "negative bytes": lambda m: m["records"]["metrics.jsonl"].update(bytes=-1),
}


@pytest.mark.parametrize("alteration", MANIFESTS)
def test_a_manifest_out_of_range_is_refused(forged, alteration):
    seal(forged, lambda manifest: (MANIFESTS[alteration](manifest), None)[1])
    assert commands(forged)["resume"].count(MANIFEST) == 1


@pytest.mark.parametrize("steps", ["env_steps", "train_steps"])
@pytest.mark.parametrize("value", [0, 1, 10**6, 2**31 - 1])
def test_other_steps_are_refused(forged, steps, value):
    seal(forged, lambda manifest: manifest.update({steps: value}))
    manifest = json.loads((place(forged) / MANIFEST).read_text())
    name = checkpoint.name_at(manifest["env_steps"], manifest["train_steps"])
    place(forged).rename(forged.checkpoints / name)
    assert MANIFEST in commands(forged)["resume"]


# ------------------------------------------------------------------ arrays

ANY_WEIGHT = r".*\.weight"
TENSORS = {
    "NaN": {ANY_WEIGHT: filled(np.nan)},
    "infinite": {ANY_WEIGHT: filled(np.inf)},
    "another type": {ANY_WEIGHT: filled(0, np.int32)},
    "half precision": {ANY_WEIGHT: filled(0, np.float16)},
    "another shape": {ANY_WEIGHT: lambda a: np.zeros(3, np.float32)},
    "of no size": {ANY_WEIGHT: lambda a: np.zeros((0, 4), np.float32)},
    "missing": {ANY_WEIGHT: None},
    "one more": {"more": lambda a: np.zeros(1, np.float32)},
    "a negative variance": {r".*running_var": filled(-1)},
}
OPTIMISER = {
    "an index beyond": {"optimiser.999.momentum_buffer": lambda a: np.zeros(1, np.float32)},
    "a name for an index": {"optimiser.x.momentum_buffer": lambda a: np.zeros(1, np.float32)},
    "no name": {"optimiser.0": lambda a: np.zeros(1, np.float32)},
    "another shape": {r"optimiser\.0\..*": lambda a: np.zeros(2, np.float32)},
    "NaN": {r"optimiser\.0\..*": filled(np.nan)},
    "another owner": {"nobody.weight": lambda a: np.zeros(1, np.float32)},
}
REPLAY = {
    "action": ("action", -1),
    "action beyond": ("action", 99),
    "reward": ("reward", np.nan),
    "policy": ("policy", np.inf),
    "negative policy": ("policy", -1),
    "age": ("age_in_episode", -5),
    "age beyond": ("age_in_episode", 2**62),
    "collected": ("collected_at", -(2**62)),
    "state": ("state_id", 2**62),
    "weight": ("weight", -1),
    "weight of NaN": ("weight", np.nan),
    "huge weight": ("weight", 1e308),
    "length": ("length", 0),
    "negative length": ("length", -(2**62)),
    "length beyond": ("length", 2**62),
}
CACHE = {"value": ("search_value", np.nan), "tags": ("searched", -2)}
DRAW = {
    "rows": (r"window\.rows", 10**9),
    "negative rows": (r"window\.rows", -1),
    "drawn actions": (r"window\.actions", 99),
    "drawn age": (r"window\.age", -1),
    "drawn weights": (r"window\.weights", np.inf),
    "targets": (r"targets\.value", np.nan),
}
RANGES = [
    (part, alteration, change)
    for part, changes in {"replay": REPLAY, "reanalyser": CACHE, "draw": DRAW}.items()
    for alteration, change in changes.items()
]
SHAPES = {
    "no length": ("replay", {"length": None}),
    "one more": ("replay", {"more": lambda a: np.zeros(1)}),
    "a shorter replay": ("replay", {"action": lambda a: a[:3]}),
    "another type": ("replay", {"action": lambda a: a.astype(np.float64)}),
    "a window of another size": ("draw", {r"window\.rows": lambda a: a[:1]}),
    "half a window": ("draw", {r"window\.rows": None}),
    "no targets": ("draw", {r"targets\.policy": None}),
    "a scalar": ("draw", {r"window\.age": lambda a: np.zeros((), np.int64)}),
}


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("alteration", TENSORS)
def test_a_network_that_does_not_fit_is_refused(forged, part, alteration):
    arrays(forged, part, **TENSORS[alteration])
    require_refused(forged, part)


@pytest.mark.parametrize("alteration", OPTIMISER)
def test_an_optimiser_that_does_not_fit_is_refused(forged, alteration):
    arrays(forged, "learner", **OPTIMISER[alteration])
    require_refused(forged, "learner: ")


@pytest.mark.parametrize(("part", "alteration", "change"), RANGES)
def test_a_number_out_of_range_is_refused(forged, part, alteration, change):
    name, value = change
    arrays(forged, part, **{name: filled(value)})
    require_refused(forged, f"{part}: ")


@pytest.mark.parametrize("alteration", SHAPES)
def test_arrays_of_another_shape_are_refused(forged, alteration):
    part, changes = SHAPES[alteration]
    arrays(forged, part, **changes)
    require_refused(forged, f"{part}: ")


def test_nothing_is_read_before_all_shapes_fit(forged, monkeypatch):
    """A sparse file may claim more than the memory holds."""
    arrays(forged, "replay", **{"weight": lambda a: np.zeros(2**20)})
    monkeypatch.setattr(StoredArray, "__array__", None)
    path = place(forged)
    state = stored_arrays(path / "replay.safetensors") | {"env_steps": 48}
    trainer = Trainer(forged.config(), resolve_compute(forged.config().compute))
    with fails("EZ-CHECKPOINT-CONTENT", "weight"):
        trainer.replay.restore(state)


@pytest.mark.parametrize("part", [*NETWORKS, "replay"])
@pytest.mark.parametrize(
    "content", [b"", b"\0" * 7, b"\xff" * 64, (2).to_bytes(8, "little") + b"{}", b"\0" * 99]
)
def test_what_is_no_file_of_tensors_is_refused(forged, part, content):
    (place(forged) / f"{part}.safetensors").write_bytes(content)
    seal(forged)
    require_refused(forged, part)


def test_weights_near_the_largest_float_end_in_a_sentence(forged):
    """They are finite, and what the network makes of them is not."""
    for part in NETWORKS:
        arrays(forged, part, **{ANY_WEIGHT: filled(3e38)})
    commands(forged)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", zstandard.compress(b""), zstandard.compress(b"\1" * 7)],
    ids=["empty", "text", "nothing", "little"],
)
def test_frames_that_are_no_frames_are_refused(forged, content):
    for file in forged.frames.iterdir():
        file.write_bytes(content)
    seal(forged)
    require_refused(forged, "frames: ")
