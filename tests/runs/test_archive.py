"""A run from an archive is the same agent elsewhere; a hostile archive has no other effect."""

import json
import random
import shutil
import zipfile
import zlib

import pytest

from ezcli.errors import EzError
from ezcli.experiments import catalogue
from ezcli.reports.card import model_card
from ezcli.runs import archive
from ezcli.runs.archive import CHECKSUMS, lay_out, pack, unpack
from ezcli.runs.evaluate import final_protocol
from ezcli.runs.examine import examine
from ezcli.runs.folder import RunFolder
from ezcli.runs.scoring import evaluate_run
from ezcli.runs.train import train
from tests.failing import check, fails
from tests.runs.helpers import RESULTS, Watcher, contents, weights


def exported(folder, target):
    laid = target.parent / "laid"
    laid.mkdir()
    lay_out(folder, model_card(folder), laid)
    pack(laid, target)
    return target


@pytest.fixture(scope="module")
def good(finished, tmp_path_factory):
    return exported(finished, tmp_path_factory.mktemp("archive") / "run.zip")


def changed(source, target, change):
    """The archive with its files changed: a dict of contents by name."""
    with zipfile.ZipFile(source) as file:
        files = {name: file.read(name) for name in file.namelist()}
    change(files)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return target


def test_an_unpacked_run_is_the_same_agent(good, finished, tmp_path):
    path, is_new = unpack(good, tmp_path / "runs")
    found = RunFolder(path)
    assert (found.name, is_new) == (finished.name, True)
    assert weights(found) == weights(finished)
    assert all(
        (found.path / file).read_bytes() == (finished.path / file).read_bytes() for file in RESULTS
    )
    assert found.config() == finished.config()
    assert catalogue.entry(path).state == "finished"
    assert all(finding.ok for finding in examine(found))
    assert unpack(good, tmp_path / "runs") == (path, False)


@pytest.mark.slow
def test_it_scores_what_the_run_itself_scores(good, finished, tmp_path):
    own = RunFolder(shutil.copytree(finished.path, tmp_path / "own" / finished.name))
    path, _ = unpack(good, tmp_path)
    protocol = final_protocol(own.config(), episodes=5, seed=3)
    first, other = (evaluate_run(f, f.config(), protocol) for f in (own, RunFolder(path)))
    assert first == other


def test_equal_runs_give_equal_archives(good, finished, tmp_path):
    assert exported(finished, tmp_path / "run.zip").read_bytes() == good.read_bytes()


@pytest.mark.slow
def test_an_exported_run_is_not_trained_further(stopped, tmp_path):
    path, _ = unpack(exported(stopped, tmp_path / "run.zip"), tmp_path / "runs")
    before = contents(path / "checkpoints")
    with fails("EZ-RUN-EXPORTED", path.name):
        train(stopped.config(), RunFolder(path), Watcher())
    assert contents(path / "checkpoints") == before


def test_another_run_of_that_name_stays(good, tmp_path, finished):
    path, _ = unpack(good, tmp_path)
    other = changed(good, tmp_path / "b.zip", lambda files: files.update({CHECKSUMS: b"{}"}))
    before = contents(path)
    with fails("EZ-ARCHIVE-NAME-TAKEN", finished.name, "--runs-dir"):
        unpack(other, tmp_path)
    assert contents(path) == before


def named(name):
    def change(files):
        info = json.loads(files["run.json"]) | {"name": name}
        files["run.json"] = json.dumps(info).encode()

    return change


STEP = "checkpoints/step-000000056-000000014"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda files: files.update({"../evil": b""}), "EZ-ARCHIVE-DAMAGED", "'../evil'"),
        (lambda files: files.update({"/tmp/evil": b""}), "EZ-ARCHIVE-DAMAGED", "evil"),
        (lambda files: files.update({f"{STEP}/../evil": b""}), "EZ-ARCHIVE-DAMAGED", "evil"),
        (lambda files: files.update({f"{STEP}/state.pkl": b""}), "EZ-ARCHIVE-DAMAGED", "state.pkl"),
        (lambda files: files.update({"config.toml\n": b""}), "EZ-ARCHIVE-DAMAGED", "config.toml"),
        (lambda files: files.pop("config.toml"), "EZ-ARCHIVE-DAMAGED", "config.toml"),
        (lambda files: files.pop("metrics.jsonl"), "EZ-ARCHIVE-DAMAGED", "checksums.json"),
        (lambda files: files.update({"README.md": b"x"}), "EZ-ARCHIVE-DAMAGED", "checksums.json"),
        (lambda files: files.update({"run.json": b"[" * 9999}), "EZ-ARCHIVE-DAMAGED", "archive"),
        (lambda files: files.update({"run.json": b"[]"}), "EZ-ARCHIVE-DAMAGED", "run.json"),
        (named("../evil"), "EZ-RUN-NAME", "'../evil'"),
        (named(".evil"), "EZ-RUN-NAME", "'.evil'"),
        (named(7), "EZ-ARCHIVE-DAMAGED", "run.json"),
    ],
)
def test_a_strangers_archive_writes_nothing_elsewhere(change, code, says, good, tmp_path):
    bad = changed(good, tmp_path / "bad.zip", change)
    with fails(code, says):
        unpack(bad, tmp_path / "a" / "runs")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != bad]


def test_what_is_larger_than_it_says_is_not_written(good, tmp_path, monkeypatch):
    monkeypatch.setitem(archive.MOST, f"{archive.STEP}weights[.]safetensors", 1000)
    with fails("EZ-ARCHIVE-DAMAGED", "weights.safetensors", "too large"):
        unpack(good, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_link_in_an_archive_becomes_a_plain_file(good, tmp_path):
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(bad, "w") as file:
        for member in source.infolist():
            if member.filename == "timing.jsonl":
                link = zipfile.ZipInfo("timing.jsonl")
                link.external_attr = 0o120777 << 16
                file.writestr(link, "/etc/passwd")
            else:
                file.writestr(member, source.read(member))
    with fails("EZ-ARCHIVE-DAMAGED", CHECKSUMS):
        unpack(bad, tmp_path / "runs")


def no_zip(good):
    return b"nothing"


def wrong_stream(good):
    """The first deflated block of the first file is of the reserved type."""
    start = 30 + good[26] + good[28]
    return good[:start] + b"\x07" + good[start + 1 :]


def later_version(good):
    at = good.index(b"PK\x01\x02") + 6
    return good[:at] + b"\xff" + good[at + 1 :]


def name_not_utf8(good):
    at = good.index(b"PK\x01\x02")
    return good[: at + 9] + b"\x08" + good[at + 10 : at + 46] + b"\xff" + good[at + 47 :]


def end_missing(good):
    """The last file is said to be stored, and larger than all that follows."""
    at = good.rindex(b"PK\x01\x02")
    size = b"\xff\xff\xff\x0f"
    return good[: at + 10] + b"\0\0" + good[at + 12 : at + 20] + 2 * size + good[at + 28 :]


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (no_zip, zipfile.BadZipFile),
        (wrong_stream, zlib.error),
        (end_missing, (EOFError, zipfile.BadZipFile)),  # the second in later versions of Python
        (later_version, NotImplementedError),
        (name_not_utf8, UnicodeDecodeError),
    ],
)
def test_each_error_of_the_standard_library_is_ours(damage, cause, good, tmp_path):
    bad = tmp_path / "bad.zip"
    bad.write_bytes(damage(good.read_bytes()))
    with fails("EZ-ARCHIVE-DAMAGED", "bad.zip") as raised:
        unpack(bad, tmp_path / "runs")
    assert isinstance(raised.value.__cause__, cause)


def test_broken_bytes_are_an_error_of_ours(good, tmp_path):
    """Every failure is a sentence; what is accepted is whole."""
    whole, rng, bad = good.read_bytes(), random.Random(0), tmp_path / "bad.zip"
    codes = []
    for number in range(150):
        content = bytearray(whole)
        if number % 3 == 0:
            content = content[: rng.randrange(len(content))]
        else:
            tail = len(content) - 900 if number % 3 == 1 else 0
            for _ in range(rng.randint(1, 4)):
                content[rng.randrange(tail, len(content))] = rng.randrange(256)
        bad.write_bytes(content)
        try:
            path, _ = unpack(bad, tmp_path / f"runs{number}")
        except EzError as error:
            codes.append(error.code)
        else:
            assert all(finding.ok for finding in examine(RunFolder(path)))
    assert set(codes) <= {"EZ-ARCHIVE-DAMAGED", "EZ-RUN-NAME"}
    assert len(codes) > 100


def test_the_command_makes_what_others_take(ez, finished, tmp_path):
    code, out, err = ez("export", finished.path)
    assert (code, err) == (0, "")
    assert f"{finished.name}.zip" in out
    code, out, err = ez("runs", "show", f"{finished.name}.zip", "--json")
    assert code == 0
    assert json.loads(out)["identity"] == finished.config().identity
    assert f"Unpacked {finished.name}.zip" in err
    code, _, _ = ez("export", finished.path, "--format", "hub", "-o", "hub")
    assert code == 0
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: ezcli\n")
    mean = RunFolder(tmp_path / "hub").read("evaluations.jsonl")[-1]["mean"]
    assert f'value: "{mean:.2f} +/- ' in card
    assert RunFolder(tmp_path / "hub").config() == finished.config()


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--format", "tar"], "EZ-UNKNOWN-FORMAT", "zip"),
        (["-o", "run.tar"], "EZ-ARCHIVE-NAME", ".zip"),
        (["-o", "none/run.zip"], "EZ-PATH-NO-FOLDER", "none"),
        (["--format", "hub", "-o", "."], "EZ-PATH-TAKEN", "'.'"),
    ],
)
def test_what_cannot_be_written_is_refused(options, code, says, ez, finished):
    assert ez("export", finished.path, *options)[0] != 0
    check(ez.error, code, says)


def test_a_file_that_is_no_archive(ez, tmp_path):
    (tmp_path / "a.zip").write_text("nothing")
    assert ez("watch", "a.zip")[0] != 0
    check(ez.error, "EZ-ARCHIVE-DAMAGED", "'a.zip'", "ez export")
