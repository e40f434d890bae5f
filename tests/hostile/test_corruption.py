"""Any damage to the files of a run is detected and named, and intact files are used instead."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from ezcli.errors import EzError
from ezcli.experiments import catalogue
from ezcli.reports.groups import Run
from ezcli.reports.run_scores import read_run
from ezcli.runs import checkpoint
from ezcli.runs import train as module
from ezcli.runs.agent import load_agent
from ezcli.runs.folder import CONFIG, EVALUATIONS, METRICS, RECORDS, RunFolder
from ezcli.runs.scoring import evaluate_run
from ezcli.runs.train import train
from ezcli.state import Blob, is_array
from tests.failing import fails
from tests.runs.helpers import Watcher, make_old, outcome, run, tiny

pytestmark = pytest.mark.slow  # `tests/runs/test_examine.py` has a few cases for every run

REGIONS = 8  # of a file, in each of which a byte is flipped
SAVING = "record.checkpoint_minutes=0"
INFO = "run.json"


# ------------------------------------------------------------------ runs to damage


def begun(path, *settings):
    """A run that was stopped after its 8th event, with two checkpoints, and evaluated by hand."""
    folder = run(path, tiny("catch", SAVING, *settings), Watcher(stop_after=8))
    evaluate_run(folder, folder.config())
    return path


@pytest.fixture(scope="session")
def stopped_path(tmp_path_factory):
    """A run with all files, not to be changed."""
    return begun(tmp_path_factory.mktemp("stopped") / "run")


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """The run of another seed, stopped at the same event."""
    return RunFolder(begun(tmp_path_factory.mktemp("other") / "run", "seed=1"))


@pytest.fixture
def copy(stopped_path, tmp_path):
    """A run to be harmed."""
    return RunFolder(shutil.copytree(stopped_path, tmp_path / "run"))


@pytest.fixture(scope="session")
def finished_path(stopped_path, tmp_path_factory):
    """The same run at its end, not to be changed."""
    path = shutil.copytree(stopped_path, tmp_path_factory.mktemp("finished") / "run")
    return run(path, tiny("catch", SAVING)).path


@pytest.fixture
def done(finished_path, tmp_path):
    """A finished run, to be harmed."""
    return RunFolder(shutil.copytree(finished_path, tmp_path / "run"))


def add_to(digest, state):
    """Adds a state to a checksum: its names, numbers and arrays. Blobs are frames, added apart."""
    if isinstance(state, dict):
        for name, value in sorted(state.items()):
            digest.update(name.encode())
            add_to(digest, value)
    elif is_array(state):
        digest.update(np.asarray(state).tobytes())
    elif not isinstance(state, Blob) and not any(isinstance(one, Blob) for one in listed(state)):
        digest.update(json.dumps(state).encode())


def listed(value):
    return value if isinstance(value, list | tuple) else []


class Resumed:
    """What a run goes on from: the trainer's whole state, the lines kept, and what was said."""

    def __init__(self, folder):
        self.watcher, self.state = Watcher(), None
        config = folder.config()  # as `ez resume` does
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "events", lambda trainer, *_: self.look(trainer, folder) or ())
            patch.setattr(module, "warm_up_search", lambda: [])
            train(config, folder, self.watcher)

    def look(self, trainer, folder):
        digest = hashlib.sha256()
        add_to(digest, trainer.state())
        written = torch.from_numpy(trainer.replay.arrays.state_id >= 0)
        digest.update(trainer.frames.frames[written].numpy().tobytes())
        steps = (trainer.replay.env_steps, trainer.learner.train_steps)
        lines = {file: (folder.path / file).read_bytes() for file in RECORDS[::2]}
        self.state = (steps, digest.hexdigest(), lines)


def whole_states(path, tmp):
    """What a run goes on from where nothing is harmed, by the number of checkpoints."""
    found = []
    for number in range(3):
        folder = RunFolder(shutil.copytree(path, tmp / str(number)))
        for unwanted in checkpoint.checkpoint_paths(folder)[number:]:
            shutil.rmtree(unwanted)
        folder.update_info(has_checkpoint=number > 0)
        found.append(Resumed(folder).state)
    return found


@pytest.fixture(scope="session")
def whole(stopped_path, tmp_path_factory):
    """The states that a run may go on from: anew, the checkpoint before, the newest."""
    return whole_states(stopped_path, tmp_path_factory.mktemp("whole"))


# ------------------------------------------------------------------ damages


def flip(region):
    def harm(path, other):
        content = bytearray(path.read_bytes())
        place = round((len(content) - 1) * region / (REGIONS - 1))
        content[place] ^= 1
        path.write_bytes(content)

    harm.__name__ = f"flip{region}"
    return harm


def truncate(eighths):
    def harm(path, other):
        content = path.read_bytes()
        path.write_bytes(content[: min(len(content) - 1, len(content) * eighths // 8)])

    harm.__name__ = f"truncate{eighths}"
    return harm


def empty(path, other):
    path.write_bytes(b"")


def remove(path, other):
    path.unlink()


def become_folder(path, other):
    path.unlink()
    path.mkdir()


def link_elsewhere(path, other):
    path.unlink()
    path.symlink_to(other)


def link_to_nothing(path, other):
    path.unlink()
    path.symlink_to(path.with_name("nothing"))


def replace(path, other):
    shutil.copy(other, path)


def digit(path, other):
    """Another digit: still JSON or TOML, and another number."""
    content = bytearray(path.read_bytes())
    place = [i for i, byte in enumerate(content) if chr(byte).isdigit()][-1]
    content[place] = ord("7") if content[place] != ord("7") else ord("3")
    path.write_bytes(content)


def double_a_line(path, other):
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, first, *rest]))


def reverse_lines(path, other):
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))


def lose_a_line(path, other):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


FLIPS = [flip(region) for region in range(REGIONS)]
CUTS = [truncate(eighths) for eighths in (1, 4, 7, 8)]
WHOLE_FILE = [empty, remove, become_folder, link_elsewhere, link_to_nothing, replace]
ANY = [*FLIPS, *CUTS, *WHOLE_FILE]
LINES = [digit, double_a_line, reverse_lines, lose_a_line]
SAFETENSORS = tuple(f"{part}.safetensors" for part in ("weights", "learner", "copies", "replay"))
IN_CHECKPOINT = (*SAFETENSORS, "state.json", "manifest.json")
TOP = (CONFIG, INFO, *RECORDS)


def path_of(folder, file):
    """`newest/...` and `before/...` are the two checkpoints, `frames/0` the oldest segment."""
    place, _, name = file.partition("/")
    before, newest = checkpoint.checkpoint_paths(folder)
    if place == "frames":
        return sorted(folder.frames.iterdir())[int(name)]
    return {"newest": newest, "before": before}.get(place, folder.path / place) / name


def cases():
    files = [*TOP, *(f"{x}/{f}" for x in ("newest", "before") for f in IN_CHECKPOINT)]
    files += [f"frames/{number}" for number in range(7)]
    for file in files:
        for harm in [*ANY, *(LINES if file in RECORDS or file in (CONFIG, INFO) else ())]:
            yield pytest.param(file, harm, id=f"{file}-{harm.__name__}")


def same_json(one, other):
    """Whether two texts say the same: a byte of white space was flipped."""
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def attempt(call):
    """What a call gave, or the message of its error."""
    try:
        return call(), None
    except EzError as error:
        return None, error.message


def other_path(request, harm, file):
    """The same file of another run, made only if it is needed."""
    if harm not in (replace, link_elsewhere):
        return None
    return path_of(request.getfixturevalue("other"), file)


def is_harmless(path, before):
    """Whether what was done to a file may pass unseen."""
    if path.name == INFO and not path.exists() and not path.is_symlink():
        return True  # it is written anew
    now = path.read_bytes() if path.is_file() else b""
    return now == before or (path.suffix == ".json" and same_json(now, before))


def without_manual(state):
    """The state without scores that somebody asked for by hand."""
    steps, digest, lines = state
    kept = [x for x in lines[EVALUATIONS].splitlines() if b'"manual"' not in x]
    return steps, digest, lines | {EVALUATIONS: kept}


@pytest.mark.parametrize(("file", "harm"), list(cases()))
def test_a_harmed_file_is_found_and_named(file, harm, copy, whole, request):
    path = path_of(copy, file)
    before = path.read_bytes()
    harm(path, other_path(request, harm, file))
    harmless = is_harmless(path, before)
    found, error = attempt(lambda: Resumed(copy))
    if error:
        assert not harmless or path.is_symlink()  # links are not followed, whatever they lead to
        assert "\n" not in error
        assert path.name in error
        return
    if harmless or file.startswith("before"):
        assert found.state == whole[2]  # the newest needs no other
        return
    names = {path.name, path.parent.name}  # of another run's manifest, the whole checkpoint
    assert any(name in said for said in found.watcher.said for name in names)
    assert without_manual(found.state) in [without_manual(state) for state in whole]
    if not file.endswith("jsonl"):
        assert found.state == whole[1]


# ------------------------------------------------------------------ checkpoints as a whole


def swap(one, two):
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


@pytest.mark.parametrize("file", IN_CHECKPOINT)
def test_a_file_swapped_between_checkpoints(file, copy):
    before, newest = checkpoint.checkpoint_paths(copy)
    same = (before / file).read_bytes() == (newest / file).read_bytes()
    swap(before / file, newest / file)
    if same:
        return
    with fails("EZ-CHECKPOINT-NONE-WHOLE", "'run'", before.name, newest.name):
        Resumed(copy)


@pytest.mark.parametrize(
    "harm",
    [
        lambda manifest: manifest.update(env_steps=48),
        lambda manifest: manifest.update(train_steps=8),
        lambda manifest: manifest.update(identity="0" * 12),
        lambda manifest: manifest["blobs"].popitem(),
        lambda manifest: manifest["blobs"].update(dict.fromkeys(manifest["blobs"], "0" * 64)),
        lambda manifest: manifest["records"].pop(METRICS),
        lambda manifest: manifest["files"].pop("state.json"),
        lambda manifest: manifest.update(format=1),
        lambda manifest: manifest.update(more=1),
        lambda manifest: manifest.pop("sha256"),
        lambda manifest: manifest.clear(),
    ],
)
def test_a_manifest_that_says_something_else(harm, copy):
    before, newest = checkpoint.checkpoint_paths(copy)
    manifest = json.loads((newest / "manifest.json").read_text())
    harm(manifest)
    (newest / "manifest.json").write_text(json.dumps(manifest))
    found, (complaint,) = checkpoint.newest(copy)
    assert found.path == before
    assert str(newest / "manifest.json") in complaint


def test_checkpoints_that_changed_names(copy):
    before, newest = checkpoint.checkpoint_paths(copy)
    swap(before, newest)
    with fails("EZ-CHECKPOINT-NONE-WHOLE", before.name, newest.name):
        Resumed(copy)


@pytest.mark.parametrize("to_train", [True, False])
def test_a_checkpoint_of_another_run(to_train, copy, other, whole):
    """With all that it needs: its weights must not be taken for this run's."""
    newest = checkpoint.checkpoint_paths(copy)[-1]
    shutil.rmtree(newest)
    shutil.copytree(checkpoint.checkpoint_paths(other)[-1], newest)
    for segment in other.frames.iterdir():
        shutil.copy(segment, copy.frames / f"other-{segment.name}")
    manifest = json.loads((newest / "manifest.json").read_text())
    manifest["blobs"] = {
        name.replace("frames/", "frames/other-"): digest
        for name, digest in manifest["blobs"].items()
    }
    manifest["sha256"] = checkpoint.checksum({k: v for k, v in manifest.items() if k != "sha256"})
    (newest / "manifest.json").write_text(json.dumps(manifest))
    found, (complaint,) = checkpoint.newest(copy, to_train)
    assert found.path != newest
    assert "belongs to another config" in complaint
    assert newest.name in complaint
    assert Resumed(copy).state == whole[1]


def become_file(path):
    shutil.rmtree(path)
    path.write_text("x")


def become_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("nothing"))


def become_empty(path):
    shutil.rmtree(path)
    path.mkdir()


@pytest.mark.parametrize("harm", [become_file, become_link, become_empty, shutil.rmtree])
@pytest.mark.parametrize("place", ["newest", "before", "checkpoints", "frames"])
def test_a_harmed_folder(place, harm, copy, whole):
    before, newest = checkpoint.checkpoint_paths(copy)
    path = {"newest": newest, "before": before}.get(place, copy.path / place)
    harm(path)
    found, error = attempt(lambda: Resumed(copy))
    if error:
        assert place in ("checkpoints", "frames") or path.is_symlink()
        assert path.name in error
        return
    state = {"newest": whole[1], "before": whole[2]}.get(place, whole[0])
    assert without_manual(found.state) == without_manual(state)
    if place == "newest" and harm is not shutil.rmtree:
        assert any(path.name in said for said in found.watcher.said)


@pytest.mark.parametrize("left", [0, 1, 2])
@pytest.mark.parametrize("harm", [become_file, become_empty, shutil.rmtree])
def test_whatever_it_goes_on_from_the_end_is_the_same(left, harm, copy, undisturbed):
    paths = checkpoint.checkpoint_paths(copy)
    for path in paths[left:]:
        harm(path)
    if left == 0:
        code = "EZ-CHECKPOINT-GONE" if harm is shutil.rmtree else "EZ-CHECKPOINT-NONE-WHOLE"
        with fails(code, "'run'"):
            run(copy.path, tiny("catch", SAVING))
        copy.update_info(has_checkpoint=False)
        shutil.rmtree(copy.checkpoints)
        shutil.rmtree(copy.frames)
    run(copy.path, tiny("catch", SAVING))
    lines = (copy.path / EVALUATIONS).read_bytes().splitlines(keepends=True)
    (copy.path / EVALUATIONS).write_bytes(b"".join(x for x in lines if b'"manual"' not in x))
    assert outcome(copy) == undisturbed


def test_scores_asked_for_by_hand_outlive_a_step_back(copy):
    shutil.rmtree(checkpoint.checkpoint_paths(copy)[-1])
    Resumed(copy)
    assert [line["kind"] for line in copy.read(EVALUATIONS)] == ["interim", "manual"]


# ------------------------------------------------------------------ runs of before


def unsealed(folder):
    """The run as a version without seals would have left it."""
    info = folder.read_info()
    info.pop("seals")
    (folder.path / INFO).write_text(json.dumps(info))
    make_old(folder, 1)


def test_a_run_without_seals_goes_on(copy, whole):
    unsealed(copy)
    assert Resumed(copy).state == whole[2]
    assert copy.broken_seals() == []
    assert copy.read_info()["seals"].keys() == {CONFIG, *RECORDS}


def test_a_finished_run_without_seals_counts(done):
    score = read_run(done.path).score
    unsealed(done)
    assert read_run(done.path).score == score
    evaluate_run(done, done.config())
    assert "seals" not in done.read_info()  # nobody knows whether the lines before are whole


@pytest.mark.parametrize("line", [b"{}\n", b'{"env_steps": "1", "train_steps": []}\n'])
def test_lines_of_a_run_without_seals_that_say_no_steps_are_dropped(line, copy):
    unsealed(copy)
    before = (copy.path / METRICS).read_bytes()
    (copy.path / METRICS).write_bytes(line + before)
    Resumed(copy)
    assert (copy.path / METRICS).read_bytes() == before


# ------------------------------------------------------------------ finished runs


def finished_cases():
    for file in (CONFIG, INFO, *RECORDS, *(f"newest/{file}" for file in IN_CHECKPOINT)):
        for harm in [*ANY, *(LINES if file in TOP else ())]:
            yield pytest.param(file, harm, id=f"{file}-{harm.__name__}")


@pytest.mark.parametrize(("file", "harm"), list(finished_cases()))
def test_a_finished_run_is_cited_whole_or_not_at_all(file, harm, done, request):
    score = read_run(done.path)
    path = path_of(done, file)
    before = path.read_bytes()
    harm(path, other_path(request, harm, file))
    if is_harmless(path, before):
        return
    entry = catalogue.entry(done.path)
    cited, said = read_run(done.path), []
    if file in TOP:
        assert isinstance(cited, str)
        assert path.name in cited or cited.startswith("it is ")
    else:
        assert cited._replace(path=score.path) == score  # tables do not need the rest
    if file in TOP:
        assert entry.state == "damaged"
        with pytest.raises(EzError) as caught:
            train(done.config(), done, Watcher())
        assert path.name in caught.value.message
        return
    agent = load_agent(done, done.config(), said.append)
    assert agent.train_steps < tiny().schedule.train_steps
    assert path.parent.name in said[0]


def test_scores_by_hand_are_sealed_too(done):
    evaluate_run(done, done.config())
    assert done.broken_seals() == []
    assert isinstance(read_run(done.path), Run)
    digit(done.path / EVALUATIONS, None)
    with fails("EZ-RUN-DAMAGED", EVALUATIONS):
        evaluate_run(done, done.config())


@pytest.mark.parametrize("seals", [3, None, {CONFIG: 3}, {METRICS: {"bytes": "9", "sha256": 1}}])
def test_seals_of_wrong_types_are_damage(seals, done):
    done.update_info(seals=seals)
    with fails("EZ-RUN-DAMAGED"):
        done.require_whole(CONFIG, *RECORDS)
    assert isinstance(read_run(done.path), str) or seals == {METRICS: seals.get(METRICS)}


@pytest.mark.parametrize("sessions", [3, None, "abc", {"seconds": 1}, [3], [None]])
def test_sessions_of_wrong_types_are_damage(sessions, copy):
    copy.update_info(sessions=sessions)
    with fails("EZ-RUN-DAMAGED", INFO, "sessions"):
        Resumed(copy)
