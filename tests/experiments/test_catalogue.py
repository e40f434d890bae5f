"""Information about a run from its folder, in any state."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ezcli.experiments.catalogue import by_identity, entry, last_line, progress, scan, studies_of
from ezcli.runs import lock
from ezcli.runs.folder import CONFIG, EVALUATIONS, METRICS, TIMING, RunFolder
from tests.experiments.helpers import make_study, save
from tests.runs.helpers import Watcher, run, tiny

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from ezcli.runs.folder import CONFIG, EVALUATIONS, METRICS, TIMING, RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "trained", tiny()).path


def copy(trained, tmp_path, name="copy"):
    return RunFolder(shutil.copytree(trained, tmp_path / name))


def test_a_finished_run(trained, tmp_path):
    folder = copy(trained, tmp_path)
    found = entry(folder.path)
    assert (found.name, found.state, found.identity) == ("copy", "finished", tiny().identity)
    assert abs(found.updated.timestamp() - time.time()) < 600
    far = progress(entry(folder.path))
    last = folder.read("evaluations.jsonl")[-1]
    assert (far.score, far.score_kind) == (last["mean"], "final")
    assert far.env_steps == 56
    assert far.train_steps == folder.read("metrics.jsonl")[-1]["train_steps"] > 0
    assert far.train_steps_per_second > 0


def test_a_run_that_was_stopped(tmp_path):
    run(tmp_path / "stopped", tiny(), Watcher(stop_after=4))
    assert entry(tmp_path / "stopped").state == "interrupted"


@pytest.mark.parametrize("said", ["interrupted", "failed", "finished"])
def test_what_run_json_says(trained, tmp_path, said):
    folder = copy(trained, tmp_path)
    folder.update_info(status=said)
    assert entry(folder.path).state == said


def test_a_run_before_its_first_words(tmp_path):
    folder = RunFolder(tmp_path / "new")
    folder.create(tiny())
    assert entry(folder.path)[2:4] == ("new", tiny().identity)
    assert progress(entry(folder.path)) == (None,) * 5


def test_a_lock_is_a_process_and_its_end_a_kill(trained, tmp_path):
    folder = copy(trained, tmp_path)
    folder.update_info(status="running")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        assert entry(folder.path).state == "running"
        holder.kill()
    assert entry(folder.path).state == "killed"


def test_looking_does_not_keep_a_run_from_starting(trained, tmp_path, monkeypatch):
    """The instant for which asking holds the lock is outlasted."""
    monkeypatch.setattr(lock, "INSTANT", 100.0)  # however late the one who looks goes on
    folder = copy(trained, tmp_path)
    with folder.lock():
        pass
    program = (
        "import fcntl, sys, time\n"
        "with open(sys.argv[1], 'rb') as handle:\n"
        "    fcntl.flock(handle, fcntl.LOCK_SH); print('held', flush=True); time.sleep(0.4)\n"
    )
    looked_at = str(folder.path / ".lock")
    looker = subprocess.Popen([sys.executable, "-c", program, looked_at], stdout=subprocess.PIPE)
    with looker:
        assert looker.stdout.readline() == b"held\n"
        with folder.lock():
            pass


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", "{"),
        ("run.json", "\xff\xfe"),
        ("run.json", '{"status": "dancing"}'),
        ("run.json", "[]"),
        ("run.json", '{"status": ["finished"]}'),
        ("run.json", '{"status": null}'),
    ],
)
def test_damage_is_a_state(trained, tmp_path, file, content):
    folder = copy(trained, tmp_path)
    (folder.path / file).write_text(content, encoding="latin-1")
    assert entry(folder.path).state == "damaged"
    assert by_identity(tmp_path) == {}


@pytest.mark.parametrize("file", [CONFIG, METRICS, TIMING, EVALUATIONS])
def test_nothing_is_told_of_a_run_with_a_changed_digit(trained, tmp_path, file):
    folder = copy(trained, tmp_path)
    path = folder.path / file
    content = path.read_bytes()
    place = next(i for i in reversed(range(len(content))) if content[i : i + 1].isdigit())
    digit = b"1" if content[place : place + 1] != b"1" else b"2"
    path.write_bytes(content[:place] + digit + content[place + 1 :])
    found = entry(folder.path)
    assert (found.state, progress(found)) == ("damaged", (None,) * 5)
    assert by_identity(tmp_path) == {}
    with folder.lock():  # a process mends it, perhaps
        assert entry(folder.path).state == "running"


@pytest.mark.parametrize("left", [None, "{}", '{"preset": "smoke"}'])
def test_a_trained_run_without_its_run_json_is_damaged(trained, tmp_path, left):
    folder = copy(trained, tmp_path)
    (folder.path / "run.json").unlink()
    if left is not None:
        (folder.path / "run.json").write_text(left)
    assert entry(folder.path).state == "damaged"
    shutil.rmtree(folder.checkpoints)
    assert entry(folder.path).state == "damaged"
    for file in (METRICS, TIMING, EVALUATIONS):
        (folder.path / file).unlink()
    assert entry(folder.path).state == "new"


def test_a_damaged_config_has_no_identity(tmp_path):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.toml").write_text("seed = ")
    (found,) = scan(tmp_path)
    assert found.identity is None
    assert by_identity(tmp_path) == {}


def test_only_runs_are_runs(trained, tmp_path):
    copy(trained, tmp_path, "b")
    copy(trained, tmp_path, "a")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    save(tmp_path, make_study())
    assert [found.name for found in scan(tmp_path)] == ["a", "b"]
    assert list(scan(tmp_path / "nowhere")) == []


def test_of_equal_runs_the_finished_one_counts(trained, tmp_path):
    copy(trained, tmp_path, "a").update_info(status="interrupted")
    copy(trained, tmp_path, "b")
    assert by_identity(tmp_path) == {tiny().identity: "b"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", {}),
        (b'{"a": 1}', {}),
        (b'{"a": 1}\n', {"a": 1}),
        (b'{"a": 1}\n{"a": 2}\n', {"a": 2}),
        (b'{"a": 1}\n{"a": 2', {"a": 1}),
        (b"garbage\n", {}),
        (b"[1]\n", {}),
        (b"\xff\xfe\n", {}),
        (b'{"a": 1}\n' * 50_000, {"a": 1}),
    ],
    ids=str,
)
def test_the_last_whole_line(tmp_path, content, line):
    (tmp_path / "x.jsonl").write_bytes(content)
    assert last_line(tmp_path / "x.jsonl") == line


def test_a_score_while_training_before_the_first_evaluation(trained, tmp_path):
    folder = copy(trained, tmp_path)
    folder.update_info(seals={})
    (folder.path / "evaluations.jsonl").unlink()
    line = {"env_steps": 8, "train_steps": 2, "score": 0.5}
    (folder.path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    assert progress(entry(folder.path))[3:] == (0.5, "training")


def test_places_in_studies(tmp_path):
    _, runs = save(tmp_path, make_study(name="one"))
    save(tmp_path, make_study(["consistency"], name="two"))
    save(tmp_path, make_study(name="damaged")).folder.path.joinpath("study.json").write_text("{")
    found = studies_of(tmp_path)
    full = next(r for r in runs if r.arms == "full")
    assert found[full.name] == [("one", "full"), ("two", "full")]
    assert len(found) == 6


def test_a_config_is_read_only_where_run_json_does_not_say(trained, tmp_path, monkeypatch):
    """Parsing it is what would make a list of 520 runs slow."""
    folder = copy(trained, tmp_path)
    monkeypatch.setattr(RunFolder, "config", lambda self: 1 / 0)
    assert entry(folder.path).identity == tiny().identity
    (folder.path / "run.json").unlink()
    with pytest.raises(ZeroDivisionError):
        entry(folder.path)
