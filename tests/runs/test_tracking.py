"""Trackers receive the same lines as the files, and cannot break a run."""

import shutil
import struct
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ezcli import cli
from ezcli.runs import tracking
from ezcli.runs.folder import RunFolder
from ezcli.runs.trackers.protocol import Tracking
from ezcli.runs.tracking import OPTIONAL, Trackers, require_trackers
from tests.failing import fails
from tests.runs.helpers import PATIENT, Watcher, outcome, run, tiny

OFFLINE = Tracking("offline")


class FakeError(Exception):
    """What `wandb.Error` is: of no class that Python knows."""


class FakeWandb:
    """A module `wandb` that notes what it is asked, and raises where it is told to."""

    Error = FakeError

    def __init__(self, broken="", error=None):
        self.broken, self.error = broken, error
        self.calls, self.options, self.logged, self.steps = [], {}, [], []

    def Settings(self, **options):  # noqa: N802 - wandb's name
        return options

    def _do(self, what):
        self.calls.append(what)
        if what == self.broken:
            raise self.error

    def init(self, **options):
        self.options = options
        self._do("init")
        return SimpleNamespace(
            define_metric=self.define_metric,
            log=self.log,
            finish=lambda: self._do("finish"),
        )

    def define_metric(self, pattern, step_metric):
        self._do("define_metric")
        self.metric = (pattern, step_metric)

    def log(self, numbers, step):
        self._do("log")
        self.logged.append(numbers)
        self.steps.append(step)


@pytest.fixture
def wandb(monkeypatch):
    """Installs a fake."""

    def install(*arguments):
        fake = FakeWandb(*arguments)
        monkeypatch.setitem(sys.modules, "wandb", fake)
        return fake

    return install


@pytest.mark.slow
def test_it_is_not_imported_unless_asked_for(tmp_path):
    program = (
        "import sys, pathlib\n"
        "import ezcli.runs.train, ezcli.commands.training\n"
        "from ezcli.runs.tracking import Tracking, Trackers\n"
        "Trackers(Tracking(), None, None, print).log('metrics', 0, {})\n"
        "assert not {'wandb', 'tensorboard'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_without_a_mode_nothing_happens(wandb):
    fake = wandb("init", AssertionError())
    tracker = Trackers(Tracking(), RunFolder(None), tiny(), pytest.fail)
    tracker.log("metrics", 1, {"loss": 1.0})
    tracker.close()
    assert fake.calls == []


@pytest.mark.slow
def test_a_run_is_logged_against_env_steps(wandb, undisturbed, tmp_path):
    fake, watcher = wandb(), Watcher()
    folder = run(tmp_path / "run", tiny(), watcher, tracking=OFFLINE)
    assert outcome(folder) == undisturbed
    assert fake.metric == ("*", "env_steps")
    assert fake.options["mode"] == "offline"
    assert fake.options["dir"] == str(folder.path)
    assert fake.options["config"] == tiny().model_dump(mode="json")
    assert fake.options["resume"] == "allow"
    assert fake.options["id"] == f"run-{tiny().identity}"
    metrics = [
        {key: value for key, value in line.items() if value is not None}
        for line in folder.read("metrics.jsonl")
    ]
    evaluations = [line for line in fake.logged if any(key.startswith("eval") for key in line)]
    assert [line for line in fake.logged if line not in evaluations] == metrics
    assert evaluations == [
        {"env_steps": line["env_steps"], f"evaluation/{line['kind']}": line["mean"]}
        for line in folder.read("evaluations.jsonl")
    ]
    assert fake.steps == sorted(fake.steps)
    assert fake.steps[-1] == tiny().schedule.train_steps
    assert fake.calls[-1] == "finish"
    assert not any("Weights" in text for text in watcher.said)


@pytest.mark.parametrize("broken", ["init", "define_metric", "log", "finish"])
@pytest.mark.parametrize(
    "error",
    [FakeError("lost"), OSError("lost"), RuntimeError("lost"), TypeError("lost")],
    ids=lambda error: type(error).__name__,
)
def test_trouble_is_said_once_and_then_it_is_off(broken, error, wandb, tmp_path):
    fake, said = wandb(broken, error), []
    tracker = Trackers(Tracking("online"), RunFolder(tmp_path), tiny(), said.append)
    for step in range(3):
        tracker.log("metrics", step, {"env_steps": step, "score": None, "loss": 1.0})
    tracker.close()
    assert said == ["Weights & Biases is switched off: lost"]
    assert fake.calls.count(broken) == 1


@pytest.mark.parametrize("missing", [None, SimpleNamespace()], ids=["absent", "empty folder"])
def test_an_installation_that_is_not_one(missing, monkeypatch, tmp_path):
    """None in `sys.modules` is how Python marks what cannot be imported."""
    monkeypatch.setitem(sys.modules, "wandb", missing)
    said = []
    tracker = Trackers(OFFLINE, RunFolder(tmp_path), tiny(), said.append)
    tracker.log("metrics", 1, {"loss": 1.0})
    tracker.close()
    assert len(said) == 1
    assert said[0].startswith("Weights & Biases is switched off")


@pytest.mark.slow
def test_a_run_survives_it(wandb, undisturbed, tmp_path):
    wandb("log", FakeError("lost"))
    watcher = Watcher()
    folder = run(tmp_path / "run", tiny(), watcher, tracking=Tracking("online"))
    assert outcome(folder) == undisturbed
    assert sum("Weights & Biases is switched off" in text for text in watcher.said) == 1


def test_lines_that_are_made_again_are_sent_once(wandb, tmp_path):
    """After a kill a run goes back to its checkpoint, and wandb has the lines since already."""
    fake, folder = wandb(), RunFolder(tmp_path)
    for steps in ((1, 2, 3), (2, 3, 4), (3, 4)):  # killed twice
        tracker = Trackers(OFFLINE, folder, tiny(), pytest.fail)
        for step in steps:
            tracker.log("metrics", step, {"loss": step})
        tracker.log("interim", steps[-1], {"score": steps[-1]})
    assert fake.steps == [1, 2, 3, 3, 4, 4]
    assert fake.logged == [{"loss": n} for n in (1, 2, 3)] + [
        {"score": 3},
        {"loss": 4},
        {"score": 4},
    ]


def history(content):
    """The rows that wandb kept for its server, in a file of the format of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, parts, rows = 7, b"", []
    while at + 7 <= len(content):
        length, kind = struct.unpack_from("<HB", content, at + 4)
        if kind == 0:  # nothing but zeros up to the end of the block
            at = (at // 32768 + 1) * 32768
            continue
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if 32768 - at % 32768 < 7:
            at = (at // 32768 + 1) * 32768
        if kind in (1, 4):  # a whole record, or the last part of one
            record, parts = Record.FromString(parts), b""
            if record.HasField("history"):
                items = record.history.item
                rows.append({".".join(i.nested_key) or i.key: i.value_json for i in items})
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("again", ["stopped", "killed"])
def test_the_real_one_counts_each_step_once_over_sessions(again, tmp_path, monkeypatch):
    """`killed`: all that was saved is gone, and every line is made again."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("ezcli.runs.trackers.weights_and_biases.START_SECONDS", 600)
    config, path = tiny(), tmp_path / "run"
    folder = run(path, config, Watcher(6), tracking=OFFLINE)
    if again == "killed":
        shutil.rmtree(folder.checkpoints)
        folder.update_info(has_checkpoint=False)
    run(path, config, tracking=OFFLINE)
    files = sorted(path.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    found = [row for file in files for row in history(file.read_bytes())]
    lines = [int(row["_step"]) for row in found if "loss" in row]
    assert lines == [line["train_steps"] for line in folder.read("metrics.jsonl")]
    scores = [int(row["_step"]) for row in found if any("evaluation" in key for key in row)]
    assert scores == [line["train_steps"] for line in folder.read("evaluations.jsonl")]


@pytest.mark.slow
def test_the_real_one_offline(tmp_path, monkeypatch, undisturbed):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = RunFolder(tmp_path / "run")
    folder.create(tiny())
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "600")
    command = [sys.executable, "-c", PATIENT, "resume", str(folder.path), "--wandb", "offline"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Weights & Biases is switched off" not in done.stdout
    assert list(folder.path.glob("wandb/offline-run-*"))
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize(
    "tracking",
    [Tracking(), Tracking("online", "lab/mine", True), Tracking(tensorboard=True, mlflow=True)],
)
def test_a_process_of_its_own_is_asked_for_the_same(tracking, monkeypatch):
    """What `ez ablate` was asked for reaches `ez resume` as options."""
    monkeypatch.setattr(sys, "argv", ["ez", "resume", "run", *tracking.options])
    asked = []
    monkeypatch.setattr("ezcli.commands.training.resume", lambda *given: asked.append(given) or 0)
    with pytest.raises(SystemExit):
        cli.main()
    assert tracking in asked[0]


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        (None, None, (None, "ezcli")),
        (None, "theirs", (None, "theirs")),
        ("mine", "theirs", (None, "mine")),
        ("lab/mine", None, ("lab", "mine")),
    ],
)
def test_the_project_is_the_one_asked_for(given, variable, expected, wandb, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    if variable:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    fake = wandb()
    Trackers(Tracking("offline", given), RunFolder(tmp_path), tiny(), pytest.fail)
    assert (fake.options["entity"], fake.options["project"]) == expected


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_is_not_installed_is_refused_before_a_run(name, monkeypatch):
    monkeypatch.setattr("ezcli.runs.tracking.find_spec", lambda name: None)
    with fails("EZ-OPTION-NO-PACKAGE", name, f"ezcli[{name}]"):
        require_trackers(Tracking(**{name: True}))
    require_trackers(Tracking("offline"))


@pytest.mark.slow
def test_tensorboard_gets_each_line_once_over_sessions(tmp_path, undisturbed):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config, path = tiny(), tmp_path / "run"
    run(path, config, Watcher(6), tracking=Tracking(tensorboard=True))
    folder = run(path, config, tracking=Tracking(tensorboard=True))
    assert outcome(folder) == undisturbed
    found = EventAccumulator(str(path / "tensorboard")).Reload()
    losses = [(point.step, point.value) for point in found.Scalars("loss")]
    assert losses == [
        (line["train_steps"], pytest.approx(line["loss"])) for line in folder.read("metrics.jsonl")
    ]
    scores = [(point.step, point.value) for point in found.Scalars("evaluation/interim")]
    assert scores == [
        (line["train_steps"], pytest.approx(line["mean"]))
        for line in folder.read("evaluations.jsonl")
        if line["kind"] == "interim"
    ]
    assert "config/text_summary" in found.Tags()["tensors"]


def test_a_tracker_that_failed_gets_what_it_missed(tmp_path, monkeypatch):
    """Each tracker has its own record of the lines that it took."""
    got = {"wandb": [], "tensorboard": []}

    def fake(name, fails=False):
        def log(numbers, train_steps):
            if fails and train_steps == 2:
                raise FakeError("full")
            got[name].append(train_steps)

        return lambda *_: SimpleNamespace(log=log, close=lambda: None)

    both = Tracking("offline", None, True)
    for is_broken in (True, False):
        for name in got:
            made = fake(name, is_broken and name == "wandb")
            made.title = name
            monkeypatch.setitem(tracking.TRACKERS, name, made)
        said = []
        trackers = Trackers(both, RunFolder(tmp_path), tiny(), said.append)
        for train_steps in (1, 2, 3):
            trackers.log("metrics", train_steps, {"loss": 1.0})
        assert len(said) == is_broken
    assert got == {"wandb": [1, 2, 3], "tensorboard": [1, 2, 3]}


class FakeStore:
    """What the tracker asks of MLflow, in memory."""

    def __init__(self):
        self.experiments, self.runs, self.waited = [], [], 0
        self.client = SimpleNamespace(
            get_experiment_by_name=lambda name: (
                SimpleNamespace(experiment_id=name) if name in self.experiments else None
            ),
            create_experiment=lambda name: self.experiments.append(name) or name,
            search_runs=lambda places, wanted: [
                run
                for run in self.runs
                if run.place in places and f"tags.ezcli = '{run.tags['ezcli']}'" == wanted
            ],
            create_run=self.create_run,
            update_run=lambda run, status: None,
            log_batch=self.log_batch,
            set_terminated=lambda run: None,
        )

    def create_run(self, place, run_name, tags):
        info = SimpleNamespace(run_id=len(self.runs))
        self.runs.append(
            SimpleNamespace(info=info, place=place, name=run_name, tags=tags, params={}, points=[])
        )
        return self.runs[-1]

    def log_batch(self, run, metrics=(), params=(), synchronous=True):
        assert len(params) <= 100
        assert len(metrics) <= 1000
        known = self.runs[run].params
        assert not {key for key, _ in params} & set(known)  # a parameter never changes
        known |= dict(params)
        self.runs[run].points += [(name, value, step) for name, value, _, step in metrics]
        return SimpleNamespace(wait=self.wait)

    def wait(self):
        self.waited += 1


@pytest.fixture
def store(monkeypatch):
    """An MLflow that is not there."""
    made = FakeStore()
    entities = SimpleNamespace(Metric=lambda *parts: parts, Param=lambda *parts: parts)
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=lambda: made.client))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    for name in ("MLFLOW_EXPERIMENT_NAME", "EZ_STUDY", "EZ_ARM"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_mlflow_needs_an_address(monkeypatch):
    monkeypatch.setattr("ezcli.runs.tracking.find_spec", lambda name: name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with fails("EZ-OPTION-MLFLOW", "MLFLOW_TRACKING_URI"):
        require_trackers(Tracking(mlflow=True))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    require_trackers(Tracking(mlflow=True))


def test_mlflow_gets_settings_once_and_each_line_once_over_sessions(store, tmp_path, monkeypatch):
    monkeypatch.setenv("EZ_STUDY", "mine")
    monkeypatch.setenv("EZ_ARM", "full")
    folder = RunFolder(tmp_path)
    for steps in ((1, 2), (2, 3)):  # the second session makes a line again
        trackers = Trackers(Tracking(mlflow=True), folder, tiny(), pytest.fail)
        for train_steps in steps:
            trackers.log("metrics", train_steps, {"loss": 0.5, "env_steps": train_steps * 4})
        trackers.close()
    (one,) = store.runs
    assert store.experiments == ["ezcli"]
    own = f"{folder.name}-{tiny().identity}"
    assert (one.name, one.tags) == (folder.name, {"ezcli": own, "study": "mine", "arm": "full"})
    assert one.params["schedule.env_steps"] == str(tiny().schedule.env_steps)
    assert one.points == [
        (name, value, step)
        for step in (1, 2, 3)
        for name, value in (("loss", 0.5), ("env_steps", step * 4.0))
    ]
    assert store.waited == 2


def test_mlflow_that_has_nothing_to_send_is_closed(store, tmp_path):
    trackers = Trackers(Tracking(mlflow=True), RunFolder(tmp_path), tiny(), pytest.fail)
    trackers.close()


@pytest.mark.slow
def test_the_real_mlflow_gets_each_line_once_over_sessions(tmp_path, undisturbed, monkeypatch):
    """In a folder, which MLflow's client keeps without a server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    from mlflow import MlflowClient

    config, path = tiny(), tmp_path / "run"
    run(path, config, Watcher(6), tracking=Tracking(mlflow=True))
    folder = run(path, config, tracking=Tracking(mlflow=True))
    assert outcome(folder) == undisturbed
    client = MlflowClient()
    place = client.get_experiment_by_name("mine").experiment_id
    (found,) = client.search_runs([place])
    assert found.info.status == "FINISHED"
    losses = client.get_metric_history(found.info.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [
        (line["train_steps"], pytest.approx(line["loss"])) for line in folder.read("metrics.jsonl")
    ]
    assert found.data.params["seed"] == "0"
