"""Any typed input or file is accepted as documented, or refused in one sentence."""

import json
import os
import shutil
import tomllib

import pytest
import tomli_w
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ezcli.config.files import preset_names, preset_path, read_toml
from ezcli.config.names import all_keys
from ezcli.config.resolve import resolve
from ezcli.config.tables import flat_items
from ezcli.experiments.ablations import ablation_names
from ezcli.files import remove
from ezcli.runs.cost import finished_runs
from ezcli.runs.folder import EVALUATIONS, METRICS, TIMING, RunFolder
from tests.hostile.boundary import check, ez
from tests.reports.helpers import write_run, write_study
from tests.runs.helpers import contents, tiny

TIMES = int(os.environ.get("HOSTILE_TIMES", "1"))  # as many cases, and other ones than always
EXAMPLES = []  # of every property: quick, slow
PRESETS = {name: read_toml(preset_path(name)) for name in preset_names()}


def cases(quick, slow, where="at"):
    """So many examples in every run of the tests, and so many more in the slow ones."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

    EXAMPLES.append((quick, slow))

    def decorate(test):
        def repeated(number):
            return settings(
                max_examples=number * TIMES,
                derandomize=TIMES == 1,
                deadline=None,
                database=None,
                suppress_health_check=quiet,
                phases=[Phase.generate],  # a failure is printed as it was drawn, at once
            )

        # Derandomised, the longer run begins with the shorter one's examples.
        kinds = [pytest.param(quick, id=str(quick)), pytest.param(slow, id=str(slow))]
        kinds[1] = pytest.param(slow, id=str(slow), marks=pytest.mark.slow)

        @pytest.mark.parametrize("number", kinds)
        def run(number, request):
            folder = request.getfixturevalue(where)
            repeated(number)(given(data=st.data())(lambda data: test(data, folder)))()

        run.__name__, run.case = test.__name__, test
        return run

    return decorate


# ------------------------------------------------------------------ hostile values

NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.integers(),
    st.sampled_from([2**31, 2**63, 10**30, 10**400, -(10**30)]),
    st.floats(),
    st.floats(0, 1),
)
ODD_WORDS = (
    *("", " ", ".", "..", "../x", "/", "a/b", "-x", "--", "+", "a+b", ",", "a,b", "=", "\t", "a b"),
    *("a" * 255, "a" * 300, "é" * 128, "ü", "名", "\x1b[31mred", "a\nb", "[red]", "[/]", "{", "%s"),
    *("auto", "cpu", "cuda:0", "true", "nan", "inf", "1e999", "0x10", "1_000", "٣", "9" * 5000),
    *("'", '"', "$HOME", "~", "*", "\udcff", "studies", "run.json", ".lock", "0x" + "f" * 6000),
)
WORDS = st.one_of(
    st.sampled_from(ODD_WORDS), st.text(st.characters(exclude_characters="\0"), max_size=12)
)
TOML = st.recursive(
    st.one_of(
        st.booleans(),
        NUMBERS.filter(lambda x: not isinstance(x, int) or abs(x) < 10**300),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        st.dates(),
        st.datetimes(),
        st.times(),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner)
    ),
    max_leaves=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@pytest.fixture
def at(tmp_path):
    """A folder to work in."""
    return tmp_path


def put(path, content):
    """Writes a file over whatever was there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.write_bytes(content)


# ------------------------------------------------------------------ config files


def mutated(draw, tables):
    """A preset with some of its settings and sections changed, removed or added."""
    tables = json.loads(json.dumps(tables))
    keys = [key for key, _ in flat_items(tables)]
    for _ in range(draw(st.integers(0, 2))):
        section, _, name = draw(st.sampled_from(keys)).rpartition(".")
        table = tables.get(section, {}) if section else tables
        what = draw(st.sampled_from(["value", "value", "remove", "add", "section", "number"]))
        if not isinstance(table, dict):
            continue
        if what == "value":
            table[name] = draw(TOML)
        elif what == "number":
            table[name] = draw(NUMBERS.filter(lambda x: abs(x) < 10**300))
        elif what == "remove":
            table.pop(name, None)
        elif what == "add":
            table[draw(st.sampled_from(["x", name + "s", "", "a.b", "env", "ü"]))] = draw(TOML)
        elif section:
            tables[section] = draw(TOML)
    return tables


def spoilt(draw, text):
    """The text of a TOML file, changed below the level of TOML."""
    lines = text.splitlines(keepends=True)
    place = draw(st.integers(0, len(lines) - 1))
    return draw(
        st.sampled_from(
            [
                text.encode(),
                text.encode(),
                b"\xef\xbb\xbf" + text.encode(),
                text.encode("utf-16"),
                text.replace("\n", "\r\n").encode(),
                text.replace("\n", "\r").encode(),
                text.encode()[: len(text) // 2],
                b"",
                b"\n" * 10,
                "".join([*lines, lines[place]]).encode(),
                "".join([*lines[:place], *lines[place + 1 :]]).encode(),
                text.encode() + b"\0",
                text.encode() + b"\xff = 1",
                text.encode() + b"\n[" + b"a." * 3000 + b"a]\nb = 1\n",
                text.encode() + b"\n" + b"a." * 3000 + b"a = 1\n",
                text.encode() + b"\nx = " + b"[" * 3000,
                b"seed = {" + b"a." * 2000 + b"a = 1}\n" + text.encode(),
                text.encode() + b"\nx = " + b"9" * 6000,
            ]
        )
    )


@cases(15, 500)
def test_a_config_file(data, at):
    name = data.draw(st.sampled_from(sorted(PRESETS)))
    tables = mutated(data.draw, PRESETS[name])
    content = spoilt(data.draw, tomli_w.dumps(tables))
    put(at / "mine.toml", content)
    answer = check(ez("config", "show", "--preset", "mine.toml", at=at))
    assert answer.code in (0, 2)
    if answer.code == 0:  # every setting that the file has is that of the config
        shown = dict(flat_items(tomllib.loads(answer.out)))
        for key, value in flat_items(tomllib.loads(content.decode())):
            assert shown[key] == value
        assert resolve(tomllib.loads(answer.out)) == resolve(tomllib.loads(content.decode()))


def make_odd(path, kind):
    """Something that is no plain file."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "nowhere":
        path.symlink_to("nothing")


ODD = ["folder", "fifo", "zero", "loop", "nowhere", "missing"]


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "command",
    [
        ["config", "show", "--preset", "odd.toml"],
        ["train", "--preset", "odd.toml"],
        ["doctor", "--preset", "odd.toml"],
        ["ablate", "--drop", "odd.toml", "--env", "catch", "--dry-run"],
        ["ablate", "--drop", "consistency+odd.toml", "--env", "catch", "--dry-run"],
        ["ablations", "show", "odd.toml"],
        ["bench", "--env", "catch", "--against", "odd.toml"],
        ["train", "--env", "odd.py:Mine"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_what_is_no_file_is_refused_at_once(command, kind, tmp_path):
    for name in ("odd.toml", "odd.py"):
        make_odd(tmp_path / name, kind)
    assert check(ez(*command, at=tmp_path)).code == 2
    assert not (tmp_path / "runs").exists()


# ------------------------------------------------------------------ overrides

KEYS = st.one_of(
    st.sampled_from(all_keys()),
    st.sampled_from(all_keys()).map(lambda key: key + "s"),
    st.sampled_from(["env", "search", "seed.x", "", ".", "a.b.c.d", "a" * 300, "." * 90]),
    WORDS,
)
VALUES = st.one_of(
    NUMBERS.filter(lambda x: not isinstance(x, int) or abs(x) < 10**300).map(str),
    WORDS,
    TOML.map(lambda value: tomli_w.dumps({"v": value}).removeprefix("v = ").strip()),
    st.sampled_from(["{" + "a." * 2000 + "a=1}", "[" * 3000, "{a=1}", '"' * 3, "1\nx = 2", "# x"]),
)


@cases(15, 500)
def test_overrides(data, at):
    sets = []
    for _ in range(data.draw(st.integers(1, 3))):
        equals = data.draw(st.sampled_from(["=", "=", "=", " = ", ""]))
        sets.append(f"{data.draw(KEYS)}{equals}{data.draw(VALUES)}".replace("\0", ""))
    options = [f"--set={override}" for override in sets]
    name = data.draw(st.sampled_from(["smoke", "catch"]))
    answer = check(ez("config", "show", "--preset", name, *options, at=at))
    assert answer.code in (0, 2)
    if answer.code == 0:
        shown = dict(flat_items(tomllib.loads(answer.out)))
        meant = dict(override.split("=", 1) for override in sets)
        for key, text in meant.items():
            try:
                value = tomllib.loads(f"v = {text.strip()}")["v"]
            except ValueError:
                value = text.strip()
            if len([k for k in meant if k.strip() == key.strip()]) == 1:
                assert shown[key.strip()] == value


# ------------------------------------------------------------------ arguments

NUMBER_WORDS = st.one_of(WORDS, NUMBERS.filter(lambda x: abs(x) < 10**300).map(str))
MAYBE_RUN = st.one_of(WORDS, st.sampled_from(["mine", "runs/mine", "studies/one", "one", "begun"]))
GAMES = st.one_of(WORDS, st.sampled_from(["pong", "Pong", "pong,qbert", "atari26", "qbert"]))
ENVS = st.one_of(
    WORDS, st.sampled_from(["atari", "catch", "keydoor", "a.py:B", "a:b:c", ":", "x:Y"])
)
NAMES_OF_PRESETS = st.one_of(WORDS, st.sampled_from(["smoke", "catch", "none.toml", "../smoke"]))
DROPS = st.one_of(
    WORDS,
    st.sampled_from([*ablation_names(), "muzero+consistency", "consistency+consistency", "+.toml"]),
)
VARIES = st.one_of(
    WORDS,
    st.tuples(KEYS, st.lists(VALUES, max_size=3)).map(lambda kv: f"{kv[0]}={','.join(kv[1])}"),
    st.sampled_from(["search.num_simulations=1,1,2", "value.discount=nan", "loss.augmentation=1"]),
)
SEEDS = st.one_of(
    NUMBER_WORDS,
    st.sampled_from(["0", "-1", "1000000000", "0,1", "1,", ",", "1,1", "0,2147483648"]),
)
DEVICES = st.one_of(WORDS, st.sampled_from(["cpu", "cuda:0,cuda:1", "cpu,cpu", "gpu", "cuda:999"]))
SETS = st.one_of(VALUES, st.tuples(KEYS, VALUES).map("=".join))
RUNS_DIRS = st.one_of(
    st.sampled_from(
        ["runs", "runs", "nowhere", "file", "empty", "runs/mine", "a" * 300, "x/../runs"]
    ),
    WORDS.filter(lambda word: not word.startswith(("/", "..")) and ".." not in word),
)
OUTPUTS = st.one_of(
    st.sampled_from(
        ["a.md", "a.html", "a.csv", "a.tex", "a.json", "empty", "none/a.md", "fifo.md"]
    ),
    st.sampled_from(
        ["a" * 300 + ".md", "\udcff.md", "a\nb.md", "a.gif", "a.mp4", "fifo.mp4", "é.md"]
    ),
)
FLAG = st.just(None)
COMMON = {"--runs-dir": RUNS_DIRS}
# command -> its options and arguments; an option whose value is None is a flag
COMMANDS = {
    ("train",): {
        **COMMON,
        "--game": GAMES,
        "--env": ENVS,
        "--preset": NAMES_OF_PRESETS,
        "--seed": NUMBER_WORDS,
        "--device": DEVICES,
        "--name": WORDS,
        "--set": SETS,
        "--wandb": WORDS,
        "--wandb-project": WORDS,
        "--quiet": FLAG,
    },
    ("resume",): {**COMMON, "": MAYBE_RUN, "--device": DEVICES, "--wandb": WORDS},
    ("evaluate",): {
        **COMMON,
        "": MAYBE_RUN,
        "--episodes": NUMBER_WORDS,
        "--sticky": NUMBER_WORDS,
        "--device": DEVICES,
    },
    ("watch",): {
        **COMMON,
        "": MAYBE_RUN,
        "--output": OUTPUTS,
        "--seed": NUMBER_WORDS,
        "--max-steps": NUMBER_WORDS,
        "--fps": NUMBER_WORDS,
    },
    ("ablate", "--dry-run"): {
        **COMMON,
        "--drop": DROPS,
        "--vary": VARIES,
        "--factorial": FLAG,
        "--game": GAMES,
        "--games": GAMES,
        "--env": ENVS,
        "--seeds": SEEDS,
        "--preset": NAMES_OF_PRESETS,
        "--set": SETS,
        "--study": st.one_of(WORDS, st.just("one")),
        "--jobs": NUMBER_WORDS,
        "--devices": DEVICES,
        "--json": FLAG,
    },
    ("ablations",): {"--json": FLAG, "": WORDS},
    ("ablations", "show"): {"": DROPS, "--preset": NAMES_OF_PRESETS, "--json": FLAG},
    ("study", "status"): {**COMMON, "": MAYBE_RUN, "--json": FLAG},
    ("report",): {
        **COMMON,
        "": MAYBE_RUN,
        "--against": WORDS,
        "--games": GAMES,
        "--arms": DROPS,
        "--format": st.one_of(WORDS, st.sampled_from(["markdown", "csv", "json", "latex"])),
        "--output": OUTPUTS,
        "--plot-types": WORDS,
        "--resamples": NUMBER_WORDS,
    },
    ("runs",): {
        **COMMON,
        "--study": MAYBE_RUN,
        "--arm": DROPS,
        "--game": GAMES,
        "--state": st.one_of(WORDS, st.sampled_from(["finished", "new"])),
        "--json": FLAG,
    },
    ("runs", "show"): {**COMMON, "": MAYBE_RUN, "--json": FLAG},
    ("runs", "diff", "mine"): {**COMMON, "": MAYBE_RUN, "--json": FLAG},
    ("runs", "rm"): {**COMMON, "": WORDS},
    ("runs", "export"): {
        **COMMON,
        "": MAYBE_RUN,
        "--table": st.one_of(WORDS, st.sampled_from(["metrics", "games"])),
        "--format": st.one_of(WORDS, st.just("parquet")),
        "--output": OUTPUTS,
    },
    ("tune", "--trials", "1"): {
        **COMMON,
        "--space": OUTPUTS,
        "--env": ENVS,
        "--seed": NUMBER_WORDS,
    },
    ("export",): {
        **COMMON,
        "": MAYBE_RUN,
        "--format": st.one_of(WORDS, st.just("hub")),
        "--output": OUTPUTS,
    },
    ("plot",): {**COMMON, "": MAYBE_RUN, "--metric": WORDS, "--x": WORDS, "--output": OUTPUTS},
    ("config", "show"): {
        "--preset": NAMES_OF_PRESETS,
        "--game": GAMES,
        "--env": ENVS,
        "--seed": NUMBER_WORDS,
        "--set": SETS,
        "--json": FLAG,
    },
    ("bench",): {
        "": st.one_of(WORDS, st.sampled_from(["tree", "run"])),
        "--preset": NAMES_OF_PRESETS,
        "--env": ENVS,
        "--game": GAMES,
        "--device": DEVICES,
        "--seconds": NUMBER_WORDS,
        "--against": st.one_of(OUTPUTS, RUNS_DIRS),
        "--set": SETS,
        "--output": OUTPUTS,
    },
    ("cost",): {
        "--preset": NAMES_OF_PRESETS,
        "--env": ENVS,
        "--game": GAMES,
        "--device": DEVICES,
        "--set": SETS,
        "--price-per-hour": NUMBER_WORDS,
        "--watts": NUMBER_WORDS,
        "--no-measure": FLAG,
        "--json": FLAG,
    },
    ("presets",): {"--json": FLAG, "": WORDS},
    (): {"": WORDS, "--version": FLAG},
}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a runs folder in it: two finished runs, one begun, and a study."""
    at = tmp_path_factory.mktemp("place")
    for seed in (0, 1):
        name = ("mine", "other")[seed]
        write_run(at / "runs" / name, tiny("catch", f"seed={seed}"), [0.5], preset_name="smoke")
    RunFolder(at / "runs" / "begun").create(tiny("keydoor"))
    write_study(at / "runs", lambda *_: 0.5, seeds=(0,), name="one")
    (at / "file").write_text("x")
    (at / "empty").mkdir()
    os.mkfifo(at / "fifo.md")
    os.mkfifo(at / "fifo.mp4")
    return at


def arguments_of(draw, command):
    given, options = [], COMMANDS[command]
    for name in draw(st.lists(st.sampled_from(sorted(options)), max_size=4)):
        value = draw(options[name])
        if name == "" or (value is not None and draw(st.integers(0, 9)) == 0):
            given.append(value)
        elif value is None:
            given.append(name)
        else:
            given += draw(st.sampled_from([[name, value], [f"{name}={value}"]]))
    return [argument.replace("\0", "") for argument in given]


def files_but_locks(folder):
    """Every file but those that a lock leaves behind."""
    return {name: kept for name, kept in contents(folder).items() if not name.endswith(".lock")}


@cases(25, 900, where="place")
def test_arguments(data, place):
    command = data.draw(st.sampled_from(sorted(COMMANDS)))
    given = arguments_of(data.draw, command)
    before = files_but_locks(place / "runs")
    answer = check(ez(*command, *given, at=place))
    assert files_but_locks(place / "runs") == before
    for config, folder in answer.trained:
        assert config == resolve(config.model_dump(mode="json"))
        assert folder.path.parent.name != "studies"
    for left in set(os.listdir(place)) - {"runs", "file", "empty", "fifo.md", "fifo.mp4"}:
        put(place / left, b"")
        (place / left).unlink()


# ------------------------------------------------------------------ ablation files


@cases(8, 250)
def test_an_ablation_file(data, at):
    tables = read_toml(preset_path("smoke").parents[1] / "ablations" / "value-prefix.toml")
    tables = mutated(data.draw, tables)
    if data.draw(st.booleans()):
        key = data.draw(st.sampled_from(all_keys()))
        section, _, name = key.rpartition(".")
        if isinstance(tables.get(section, {}), dict):
            (tables.setdefault(section, {}) if section else tables)[name] = data.draw(TOML)
    put(at / "mine.toml", spoilt(data.draw, tomli_w.dumps(tables)))
    for command in (
        ["ablations", "show", "mine.toml", "--preset", "catch"],
        ["ablate", "--drop", "mine.toml", "--env", "catch", "--dry-run", "--json"],
        ["ablate", "--drop", "mine.toml", "--drop", "consistency", "--factorial", "--dry-run"],
    ):
        answer = check(ez(*command, at=at))
        assert answer.code in (0, 2)
    assert not (at / "runs").exists()


# ------------------------------------------------------------------ environments of one's own

SOURCES = (
    "class Mine:\n    pass\n",
    "class Mine:\n    def __init__(self, settings, evaluation):\n        raise {error}\n",
    "raise {error}\n",
    "Mine = 3\n",
    "def Mine(:\n",
    "import nothing_like_this\n",
    "from ezcli.envs import nothing_like_this\n",
    "Mine = int\n",
    "import sys; sys.exit(3)\n",
    "x = '" + "\\0" + "'\n\0",
    "\xff\xfe = 1\n",
    "1 +\n",
    "\tx\n y\n",
    "class Mine:\n    def __init_subclass__(cls):\n        1 / 0\nclass Other(Mine): pass\n",
)
ERRORS = (
    "ValueError('a\\nb')",
    "KeyError(3)",
    "Exception()",
    "OSError(28, 'full')",
    "StopIteration",
)


@cases(15, 100)
def test_an_environment_of_ones_own(data, at):
    text = data.draw(st.sampled_from(SOURCES)).replace(
        "{error}", data.draw(st.sampled_from(ERRORS))
    )
    put(at / "my.py", text.encode("latin-1"))
    target = data.draw(st.sampled_from(["my.py:Mine", "my.py:Mine", "my.py:None", "my.py:mine.x"]))
    answer = check(ez("train", "--env", target, at=at))
    assert answer.code in (0, 1, 2)
    assert answer.code == 0 or "my.py" in answer.err or "Mine" in answer.err
    assert not (at / "runs").exists()


# ------------------------------------------------------------------ run folders and studies

INFO_KEYS = ("name", "identity", "status", "started", "ended", "environment", "actions", "preset")
SESSION_KEYS = ("seconds", "peak_memory_bytes", "packages", "device_name", "git", "ezcli")
LINE_KEYS = ("kind", "env_steps", "train_steps", "mean", "scores", "protocol", "standard_error")
STATUSES = st.sampled_from(["finished", "running", "interrupted", "failed", "new"])
LOOKS = (
    ["runs"],
    ["runs", "--json"],
    ["runs", "show", "mine"],
    ["runs", "show", "mine", "--json"],
    ["runs", "diff", "mine", "other"],
    ["report"],
    ["report", "mine"],
    ["report", "mine", "--format", "json"],
    ["study", "status"],
    ["study", "status", "one"],
    ["study", "status", "one", "--json"],
    ["ablate", "--study", "one", "--dry-run"],
    ["ablate", "--study", "one", "--seeds", "2", "--dry-run", "--json"],
    ["ablate", "--study", "one", "--print-commands"],
    ["ablate", "--env", "catch", "--preset", "smoke", "--drop", "consistency", "--dry-run"],
    ["resume", "mine"],
    ["evaluate", "mine"],
    ["watch", "mine"],
    ["runs", "rm", "mine"],
)


def changed(draw, table, keys, value=JSON):
    """The table with some entries replaced, removed or added."""
    table = dict(table)
    for key in draw(st.lists(st.sampled_from([*keys, *table]), min_size=1, max_size=3)):
        if draw(st.integers(0, 3)) == 0:
            table.pop(key, None)
        else:
            table[key] = draw(value)
    return table


def as_text(draw, value):
    """JSON, or nearly."""
    text = json.dumps(value)
    return draw(
        st.sampled_from([text, text, text, text, text, text[:-2], "", "[" * 3000, "\ufeff"])
    )


def harm_info(draw, run):
    info = json.loads((run / "run.json").read_text())
    info.pop("sha256", None)
    sessions = [changed(draw, session, SESSION_KEYS) for session in info["sessions"]]
    info |= {"sessions": draw(st.sampled_from([sessions, sessions, info["sessions"]]))}
    info = changed(draw, info, (*INFO_KEYS, "sessions", "seals", "sha256"))
    if draw(st.booleans()):
        info["status"] = draw(STATUSES)
    put(run / "run.json", as_text(draw, info).encode("utf-8", "surrogatepass"))


def harm_lines(draw, run):
    file = draw(st.sampled_from([EVALUATIONS, METRICS, TIMING]))
    line = json.loads((run / EVALUATIONS).read_text().splitlines()[-1])
    lines = [draw(st.one_of(st.just(line), st.just(None), JSON)) for _ in range(3)]
    texts = [as_text(draw, changed(draw, line, LINE_KEYS) if x is None else x) for x in lines]
    ending = draw(st.sampled_from(["\n", "\n", "", "\r\n", "\n\n"]))
    put(run / file, ("\n".join(texts) + ending).encode("utf-8", "surrogatepass"))


def harm_config(draw, run):
    tables = mutated(draw, tomllib.loads((run / "config.toml").read_text()))
    put(run / "config.toml", spoilt(draw, tomli_w.dumps(tables)))


def harm_study(draw, run):
    study = run.parent / "studies" / "one"
    record = json.loads((study / "study.json").read_text())
    for inner in ("arms", "cells"):
        if draw(st.booleans()):
            words = st.one_of(JSON, WORDS)
            record[inner] = [changed(draw, x, ("changes", "run"), words) for x in record[inner]]
    record = changed(draw, record, ("name", "preset", "games", "seeds", "arms", "cells"))
    put(study / "study.json", as_text(draw, record).encode("utf-8", "surrogatepass"))


def harm_preset(draw, run):
    study = run.parent / "studies" / "one"
    tables = mutated(draw, tomllib.loads((study / "preset.toml").read_text()))
    put(study / "preset.toml", spoilt(draw, tomli_w.dumps(tables)))


def harm_attempts(draw, run):
    put(run.parent / "studies" / "one" / "attempts.jsonl", as_text(draw, draw(JSON)).encode())


def harm_kind(draw, run):
    files = ["run.json", EVALUATIONS, METRICS, TIMING, "config.toml", ".lock", "../studies/one"]
    path = run / draw(st.sampled_from([*files, "../studies/one/study.json", "checkpoints"]))
    remove(path)
    make_odd(path, draw(st.sampled_from(ODD)))


READ_BY_HARMS = (
    "mine/run.json",
    f"mine/{EVALUATIONS}",
    "mine/config.toml",
    "studies/one/study.json",
    "studies/one/preset.toml",
)
HARMS = (harm_info, harm_info, harm_lines, harm_lines, harm_config, harm_study, harm_preset)


@cases(10, 400, where="place")
def test_a_run_folder(data, place):
    runs = place / "harmed"
    shutil.rmtree(runs, ignore_errors=True)
    shutil.copytree(place / "runs", runs)
    for harm in data.draw(
        st.lists(st.sampled_from([*HARMS, harm_attempts, harm_kind]), max_size=2)
    ):
        if all((runs / file).is_file() for file in READ_BY_HARMS):  # a pipe would be read for ever
            attempt(lambda harm=harm: harm(data.draw, runs / "mine"))
    for look in data.draw(st.lists(st.sampled_from(LOOKS), min_size=1, max_size=2)):
        check(ez(*look, "--runs-dir", "harmed", at=place))
    shutil.rmtree(runs)


def attempt(harm):
    """Harms what an earlier harm left readable."""
    try:
        harm()
    except (ValueError, TypeError, LookupError, OSError, RecursionError):  # no table, no entry
        return


# ------------------------------------------------------------------ what was found so, once each

SMALL = ("--env", "catch", "--preset", "smoke")
MISTAKES = {
    "seeds of thousands of digits": (["ablate", *SMALL, "--dry-run", "--seeds", "9" * 5000], 2),
    "an integer that Python does not write": (
        ["config", "show", "--preset", "smoke", "--set", "seed=0x" + "f" * 6000],
        2,
    ),
    "an integer that no run can have": (
        ["config", "show", "--preset", "smoke", "--set", "replay.capacity=9223372036854775808"],
        2,
    ),
    "a value nested too deep to be shown": (
        ["config", "show", "--preset", "smoke", "--set", "seed={" + "a." * 2000 + "a=1}"],
        2,
    ),
    "a run whose name is too long": (["train", *SMALL, "--name", "a" * 300], 2),
    "a run whose name moves the cursor": (["train", *SMALL, "--name", "\x1b[31mred"], 2),
    "a run whose name is no UTF-8": (["train", *SMALL, "--name", "\udcff"], 2),
    "a study whose name is too long": (["ablate", *SMALL, "--dry-run", "--study", "a" * 300], 2),
    "a folder of runs that cannot be": (["runs", "--runs-dir", "a" * 300], 2),
    "a preset whose name is too long": (["train", "--preset", "a" * 300 + ".toml"], 2),
    "an output that is a device": (["report", "--format", "json", "-o", "/dev/null"], 2),
    "more resamples than memory holds": (["report", "--resamples", "1" + "0" * 12], 2),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_that_was_a_traceback(name, tmp_path):
    arguments, code = MISTAKES[name]
    assert check(ez(*arguments, at=tmp_path)).code == code
    assert not list(tmp_path.iterdir())
    assert not os.path.isfile("/dev/null")


DAMAGED_TOML = {
    "tables nested too deep": b"[" + b"a." * 3000 + b"a]\nb = 1\n",
    "lines that end as on an old Mac": b"seed = 0\rseed = 1\r",
    "a byte order mark": b"\xef\xbb\xbfseed = 0\n",
}


@pytest.mark.parametrize("name", DAMAGED_TOML)
def test_a_config_file_that_was_read_wrong(name, tmp_path):
    put(tmp_path / "mine.toml", DAMAGED_TOML[name])
    answer = check(ez("config", "show", "--preset", "mine.toml", at=tmp_path))
    assert answer.code == 2
    assert "'mine.toml'" in answer.err


def test_an_ablation_that_is_not_a_number(tmp_path):
    """NaN differs from itself: the file clashed with nobody."""
    put(tmp_path / "a.toml", b'title = "a"\nwhy = "a"\n[value]\ndiscount = nan\n')
    answer = check(ez("ablate", "--drop", "a.toml", *SMALL, "--dry-run", at=tmp_path))
    assert (answer.code, "value.discount" in answer.err) == (2, True)


@pytest.mark.parametrize("seconds", [None, "60", [], float("nan"), 10**400, True, -1])
@pytest.mark.parametrize("key", ["seconds", "peak_memory_bytes"])
def test_sessions_that_say_no_cost_are_no_evidence(key, seconds, tmp_path):
    session = {"seconds": 1.0, "peak_memory_bytes": 9, key: seconds}
    write_run(tmp_path / "runs/mine", tiny(), [0.5], sessions=[session])
    assert finished_runs(tmp_path / "runs", ["mine"]) == []
    assert check(ez("runs", "show", "mine", at=tmp_path)).code == 0
    assert check(ez("ablate", *SMALL, "--dry-run", at=tmp_path)).code == 0


@pytest.mark.parametrize("entry", [{"mean": [1]}, {"mean": "x"}, {"env_steps": "1"}, {"kind": 3}])
def test_evaluations_of_wrong_types_are_listed_without_numbers(entry, tmp_path):
    run = write_run(tmp_path / "runs/mine", tiny(), [0.5])
    line = json.loads((run / EVALUATIONS).read_text())
    put(run / EVALUATIONS, json.dumps(line | entry).encode() + b"\n")
    for look in (["runs"], ["runs", "show", "mine"], ["report"]):
        assert check(ez(*look, at=tmp_path)).code == 0


def test_a_study_of_wrong_types_says_which_entry(place, tmp_path):
    runs = shutil.copytree(place / "runs", tmp_path / "runs")
    record = json.loads((runs / "studies/one/study.json").read_text())
    put(runs / "studies/one/study.json", json.dumps(record | {"seeds": ["x"]}).encode())
    answer = check(ez("study", "status", "one", at=tmp_path))
    assert (answer.code, "study.json" in answer.err, "seeds.0" in answer.err) == (1, True, True)


def test_all_of_this_is_two_thousand_cases():
    """In the slow tests, whose cases are new ones beside those of every run."""
    assert sum(number for number, _ in EXAMPLES) < 300
    assert sum(number for _, number in EXAMPLES) >= 2000
