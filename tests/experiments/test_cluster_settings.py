"""The launcher and settings of a command, and the imports of its processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ezcli.experiments.handover import PROGRAM, PYTHON, environment
from ezcli.experiments.launchers.cluster import Cluster, cluster_of
from ezcli.experiments.launchers.protocol import Task
from tests.failing import fails

ROOT = Path(__file__).parents[2]


HOSTILE = ("queue", "tomli_w", "typer", "ezcli", "pydantic", "torch", "submitit", "ray")


@pytest.fixture
def shadows(tmp_path, monkeypatch):
    """The current folder holds files named after modules; a process that imports one fails."""
    monkeypatch.chdir(tmp_path)
    for name in HOSTILE:
        Path(f"{name}.py").write_text(f"raise SystemExit('{name}.py of the current folder ran')")


@pytest.mark.parametrize(
    "arguments",
    [(*PROGRAM[1:], "--version"), (*PROGRAM[1:], "presets"), (*PYTHON[1:], "-c", "import queue")],
)
@pytest.mark.usefixtures("shadows")
def test_files_of_the_current_folder_replace_no_module_of_a_run(arguments):
    environment = {key: os.environ[key] for key in os.environ.keys() - {"PYTHONPATH"}}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_process_that_is_started_is_isolated_from_the_current_folder():
    started = [
        (file.name, command.group())
        for file in (ROOT / "ezcli").rglob("*.py")
        for command in re.finditer(r"\[[^\[\]]*sys\.executable[^\[\]]*\]", file.read_text())
    ]
    assert started == []  # they start with handover.PYTHON


def test_options_come_before_the_file_and_the_file_before_the_last_time(tmp_path):
    saved, file = tmp_path / "launcher.toml", tmp_path / "mine.toml"
    saved.write_text('launcher = "slurm"\n[slurm]\npartition = "old"\ncpus = 2\n')
    file.write_text('launcher = "slurm"\n[slurm]\npartition = "new"\n')
    last = cluster_of(None, None, saved, {})
    assert (last.name, last.settings.partition, last.settings.cpus) == ("slurm", "old", 2)
    assert cluster_of(None, None, saved, {"cpus": 9}).settings.cpus == 9
    given = cluster_of(None, file, saved, {"gpus": "0"}).settings
    assert (given.partition, given.cpus, given.has_gpus) == ("new", 4, False)
    assert cluster_of("local", file, saved, {}).name == "local"
    assert cluster_of(None, None, None, {}) == Cluster()
    assert cluster_of(None, None, tmp_path / "nothing", {}).settings.has_gpus is None


def test_it_is_written_as_it_is_read(tmp_path):
    cluster = cluster_of("slurm", None, None, {"partition": "gpu", "time": "1-12"})
    (tmp_path / "launcher.toml").write_text(cluster.to_toml())
    assert cluster_of(None, None, tmp_path / "launcher.toml", {}) == cluster


@pytest.mark.parametrize(
    ("text", "asked", "code", "named"),
    [
        ('launcher = "slurm"\n[slurm]\npartitoin = "gpu"', {}, "UNKNOWN-KEY", "'partition'"),
        ('launcher = "slurm"\n[slrum]\ncpus = 1', {}, "UNKNOWN-KEY", "'slurm'"),
        ('launcher = "slurm"\nslurm = 3', {}, "VALUE", "slurm of"),
        ('launcher = "slurm"\nslurm = 3', {"cpus": 1}, "VALUE", "slurm of"),
        ('launcher = "pbs"', {}, "EZ-LAUNCHER-UNKNOWN", "'pbs'"),
        ('launcher = ["slurm"]', {"cpus": 1}, "EZ-LAUNCHER-UNKNOWN", "['slurm']"),
        ("launcher =", {}, "NOT-TOML", "mine.toml"),
        (
            'launcher = "slurm"',
            {"memory": "much"},
            "VALUE",
            "--memory 'much'",
        ),
        ('launcher = "slurm"', {"gpus": "two"}, "VALUE", "--gpus 'two'"),
        (
            'launcher = "slurm"\nslurm.memory = "x"',
            {"cpus": 1},
            "VALUE",
            "slurm.memory",
        ),
        ('launcher = "slurm"\nslurm.extra.output = "x"', {}, "VALUE", "'output'"),
        ('launcher = "slurm"\nslurm.extra.job_name = "x"', {}, "VALUE", "'job_name'"),
        (
            'launcher = "slurm"\nslurm.partition = "x\\ny"',
            {},
            "VALUE",
            "slurm.partition",
        ),
        ('launcher = "slurm"\nslurm.setup = ["x\\ny"]', {}, "VALUE", "slurm.setup.0 of '"),
        (
            'launcher = "slurm"',
            {"time": "3"},
            "VALUE",
            "save_seconds = 120",
        ),
        ('launcher = "slurm"', {"time": "soon"}, "VALUE", "'soon'"),
        ("", {"partition": "gpu", "runs_per_gpu": 2}, "EZ-LAUNCHER-OPTION", "--launcher slurm"),
        ('launcher = "ray"', {"partition": "gpu"}, "EZ-LAUNCHER-OPTION", "--launcher slurm"),
        ('launcher = "ray"', {"gpus": "many"}, "VALUE", "--gpus 'many'"),
        ('launcher = "ray"', {"gpus": "1.5"}, "VALUE", "1.5"),
        ('launcher = "ray"\nray.gpus = 1' + "0" * 400, {}, "VALUE", "ray.gpus of '"),
        ('launcher = "ray"', {"cpus": "0.00001"}, "VALUE", "1e-05"),
        ('launcher = "ray"\nray.cpus = [1]', {}, "VALUE", "ray.cpus of '"),
        ('launcher = "ray"\nray.resources.CPU = 1', {}, "VALUE", "'CPU'"),
        (
            'launcher = "ray"\nray.resources.a100 = -1',
            {},
            "VALUE",
            "ray.resources.a100",
        ),
        ("[local]\nruns_per_gpu = 0", {}, "VALUE", "local.runs_per_gpu of '"),
    ],
)
def test_what_is_wrong_with_a_file_or_an_option_is_named(tmp_path, text, asked, code, named):
    (tmp_path / "mine.toml").write_text(text)
    with fails(code if code.startswith("EZ-") else f"EZ-CONFIG-{code}", named):
        cluster_of(None, tmp_path / "mine.toml", None, asked)


def test_a_study_brings_no_code_along(tmp_path):
    (tmp_path / "mine.toml").write_text('launcher = "slurm"\nslurm.setup = ["module load cuda"]')
    cluster = cluster_of(None, tmp_path / "mine.toml", None, {})
    saved = tmp_path / "launcher.toml"
    for text in (cluster.to_toml(), (tmp_path / "mine.toml").read_text()):
        saved.write_text(text)
        with fails("EZ-LAUNCHER-FILE-NEEDED", "slurm", "`setup`", "--cluster FILE"):
            cluster_of(None, None, saved, {})
        assert cluster_of(None, tmp_path / "mine.toml", saved, {}) == cluster
        assert cluster_of("local", None, saved, {}).name == "local"
        assert cluster_of("ray", None, saved, {}).name == "ray"
    assert "module" not in cluster.to_toml()


def test_what_only_a_file_may_give_is_remembered_through_a_detour(tmp_path):
    (tmp_path / "mine.toml").write_text('launcher = "slurm"\nslurm.setup = ["module load cuda"]')
    saved = tmp_path / "launcher.toml"
    saved.write_text(cluster_of(None, tmp_path / "mine.toml", None, {}).to_toml())
    saved.write_text(cluster_of("local", None, saved, {}).to_toml())
    with fails("EZ-LAUNCHER-FILE-NEEDED", "slurm", "`setup`", "--cluster FILE"):
        cluster_of("slurm", None, saved, {})


def test_the_number_of_jobs_is_remembered(tmp_path):
    place = cluster_of("slurm", None, None, {"runs_per_gpu": 3}).settings.with_jobs(7)
    (tmp_path / "launcher.toml").write_text(Cluster("slurm", place).to_toml())
    found = cluster_of(None, None, tmp_path / "launcher.toml", {}).settings
    assert (found.parallel, found.runs_at_once) == (7, 21)
    assert Cluster().settings.with_jobs(7) == Cluster().settings


def test_runs_share_the_gpus_of_this_machine_too():
    assert cluster_of(None, None, None, {"runs_per_gpu": 3}).settings.runs_per_gpu == 3


def test_an_unknown_launcher_is_named():
    with fails("EZ-UNKNOWN-LAUNCHER", "'slrum'"):
        cluster_of("slrum", None, None, {})


def test_runs_start_one_thread_for_each_library_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    found = environment(Task("run", tmp_path, tmp_path / "log", 1))
    assert found["OMP_NUM_THREADS"] == "1"
    assert found["OPENBLAS_NUM_THREADS"] == "3"
    assert found["PATH"] == os.environ["PATH"]
