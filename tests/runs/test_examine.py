"""`ez doctor RUN`: whether a run is intact, and why it stopped."""

import json
import shutil

import pytest

from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from tests.runs.helpers import contents


@pytest.fixture
def copied(stopped, tmp_path):
    shutil.copytree(stopped.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


MODES = "Evaluation against training mode"


def findings(folder):
    return {finding.name: finding for finding in examine(folder)}


def wrong(folder):
    return [finding.name for finding in examine(folder) if not finding.ok]


def test_looking_changes_nothing(copied):
    before = contents(copied.path)
    assert wrong(copied) == []
    assert contents(copied.path) == before


def test_a_finished_run_needs_nothing(finished):
    found = findings(finished)
    assert all(finding.ok for finding in found.values())
    assert [name for name, one in found.items() if one.remedy] == [MODES]  # 14 train_steps are few
    assert found["Status"].detail == "finished"
    assert found["Checkpoints"].detail == "1, all intact; the newest at env_step 56, train_step 14"
    assert found["Numbers"].detail == "all values were finite"


def test_an_interrupted_run_can_go_on(copied):
    assert findings(copied)["Status"].remedy == f"Continue with: ez resume {copied.path}"


@pytest.mark.parametrize("left", [None, "{}"])
def test_a_run_json_that_is_gone_is_missed(copied, left):
    (copied.path / "run.json").unlink()
    if left is not None:
        (copied.path / "run.json").write_text(left)
    status = findings(copied)["Status"]
    assert (wrong(copied), status.remedy.partition(",")[0]) == (
        ["Status"],
        "Restore it from a backup",
    )
    assert "run.json' is damaged: it is empty although the run was trained" in status.detail


def test_checkpoints_that_are_gone_are_missed(copied):
    shutil.rmtree(copied.checkpoints)
    assert wrong(copied) == ["Checkpoints"]


def test_a_run_that_nobody_works_on_was_killed(copied):
    copied.update_info(status="running")
    with copied.lock():
        assert findings(copied)["Status"].detail == "running; a process is working on it"
    status = findings(copied)["Status"]
    assert (status.ok, status.detail.partition(":")[0]) == (False, "killed")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("config.toml", "Config"),
        ("run.json", "Status"),
        ("metrics.jsonl", "metrics.jsonl"),
        ("timing.jsonl", "timing.jsonl"),
        ("checkpoints/*/weights.safetensors", "Checkpoints"),
        ("checkpoints/*/manifest.json", "Checkpoints"),
    ],
)
def test_what_is_damaged_is_named(file, name, copied):
    for path in copied.path.glob(file):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    found = findings(copied)
    assert not found[name].ok
    assert found[name].remedy


def test_the_older_checkpoint_is_looked_at_too(copied):
    weights = min(copied.path.glob("checkpoints/*/weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    found = findings(copied)["Checkpoints"]
    assert weights.parent.name in found.detail
    assert found.remedy.endswith("continues from an intact one.")


def test_why_a_run_failed_may_not_be_known(copied):
    copied.update_info(status="failed", error=None)
    assert findings(copied)["Status"].detail == "failed: the reason is not known"


def test_a_run_before_its_first_checkpoint_is_well(tmp_path, tiny_config):
    folder = RunFolder(tmp_path / "new")
    folder.create(tiny_config)
    assert wrong(folder) == []
    assert findings(folder)["Checkpoints"].detail == "none yet"


def test_a_failure_that_cannot_be_read_is_said(copied):
    (copied.path / "failure").mkdir()
    for content in ("[]", "{}", '{"train_step": 1, "sha256": "0"}'):
        (copied.path / "failure" / "failure.json").write_text(content)
        assert not findings(copied)["Numbers"].ok


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scores": [1e16, 1e16], "mean": 1e16}, "not all numbers of at most 1e+15"),
        ({"scores": [1e15, 1e15], "mean": 1e15}, None),
        ({"mean": 7.5}, "a mean that does not match its scores"),
    ],
)
def test_an_evaluation_that_no_report_takes_is_damaged(change, said, finished, tmp_path):
    folder = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    lines = folder.read("evaluations.jsonl")
    lines[-1] |= change
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder.path / "evaluations.jsonl").write_text(text)
    info = folder.read_info()
    folder.update_info(seals=info["seals"] | folder.seals(["evaluations.jsonl"]))
    assert ("evaluations.jsonl" in wrong(folder)) == (said is not None)
    if said is not None:
        assert said in findings(folder)["evaluations.jsonl"].detail


@pytest.mark.parametrize(("error", "is_large"), [(0.49, False), (0.51, True), (None, None)])
def test_a_root_that_searches_misjudge_is_told(copied, error, is_large):
    line = copied.read("metrics.jsonl")[0] | {"modes_value_rmse_root": error, "train_steps": 7}
    (copied.path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    copied.update_info(seals={})
    found = findings(copied)
    assert (MODES in found) == (error is not None)
    if error is not None:
        assert f"{error:.2f} standard deviations at train_step 7" in found[MODES].detail
        assert bool(found[MODES].remedy) == is_large
