"""Fixtures of the chaos tests: the forking process, and the files of an undisturbed run."""

import pytest

from ezcli.runs.folder import RunFolder
from tests.chaos.helpers import ABLATE, TRAIN, Zygote, ez, fault, study_results
from tests.runs.helpers import outcome


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    process = Zygote(tmp_path_factory.mktemp("zygote"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The outcome of a run in a fresh process, from the start of Python on."""
    runs_dir = tmp_path_factory.mktemp("undisturbed")
    done = ez(*TRAIN, runs_dir)
    assert done.returncode == 0, done.stderr
    return outcome(RunFolder(runs_dir / "run"))


@pytest.fixture(scope="session")
def calls(zygote, tmp_path_factory):
    """Every call of a run that changes a file, in order."""
    runs_dir = tmp_path_factory.mktemp("calls")
    log = runs_dir / "log"
    assert zygote.run(*TRAIN, runs_dir, fault=fault(runs_dir, log=log))[0] == 0
    return log.read_text().replace(str(runs_dir), "").splitlines()


@pytest.fixture(scope="session")
def undisturbed_study(tmp_path_factory, zygote):
    """The outcomes of a study's runs."""
    runs_dir = tmp_path_factory.mktemp("study")
    code, said = zygote.run(*ABLATE, runs_dir)
    assert code == 0, said
    found = study_results(runs_dir)
    assert len(found) == len(set(map(str, found.values()))) == 4
    return found
