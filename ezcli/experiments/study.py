"""A study: arms x games x seeds, saved so that the same command continues it.

    runs/studies/<name>/
    ├── study.json       arms, games, seeds, and the run of each cell
    ├── preset.toml      the full agent's config, frozen when the study began
    ├── attempts.jsonl   every process started for it: start, duration, end
    ├── logs/            output of these processes, a file for each run
    ├── launcher.toml    the launcher used last
    └── jobs/            only on a cluster: the job of each run

A run is identified by its config (`RunConfig.identity`), wherever its folder came from. Cells with
equal configs share a run, within a study and between studies.

`study.json` contains its own checksum and seals the preset and the attempts, as `run.json` seals
the files of a run. Attempts may be appended. `launcher.toml` is replaced independently, so its
checksum is its first line. The preset has such a line too, for commands that read only the preset.
The identities in `study.json` must match the preset. A study of version 0.1.0 has no checksums.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, ValidationError, field_validator

from ezcli import __version__
from ezcli.config.files import SEAL, read_toml, with_seal
from ezcli.config.resolve import as_before, resolve, use_env, with_changes
from ezcli.config.run import UNIDENTIFIED, RunConfig, differences_text, name_start
from ezcli.config.tables import flat_items
from ezcli.config.text import to_toml
from ezcli.errors import Busy, ConfigError, RunError
from ezcli.experiments.design import Arm, arm_label, arms_label, slug
from ezcli.files import SETTINGS, TABLE, folders_with, read, write_atomically
from ezcli.runs import lock
from ezcli.runs.folder import refuse_links
from ezcli.runs.names import NAMES, is_plain_name
from ezcli.runs.seals import Seal, checksum, holds, seal
from ezcli.settings import Settings, why
from ezcli.words import ez_command

STUDIES = "studies"  # folder within the runs folder
LONGEST_NAME = 100  # most characters of a default name


class ArmRecord(Settings):
    """An arm in `study.json`."""

    name: str
    drops: tuple[str, ...] = Field(strict=False)
    changes: dict[str, Any]


class CellRecord(Settings):
    """One arm on one game with one seed, and its run."""

    arm: str
    env: str
    seed: int
    identity: str
    run: str  # name of its folder in the runs folder

    @field_validator("run")
    @classmethod
    def _stays_in_the_runs_folder(cls, run: str) -> str:
        if not is_plain_name(run):
            raise ValueError(f"{run!r} cannot name a run")
        return run


class StudyRecord(Settings):
    """The content of `study.json`."""

    name: str
    ezcli: str
    preset: str
    games: tuple[str, ...] = Field(strict=False)  # games; empty if the suite has none
    seeds: tuple[int, ...] = Field(strict=False)
    arms: tuple[ArmRecord, ...] = Field(strict=False)
    cells: tuple[CellRecord, ...] = Field(strict=False)
    # Missing in version 0.1.0.
    is_launched: bool = False  # whether launcher.toml must exist
    seals: dict[str, Seal] = Field(default={})  # checksums of the other files, by name
    sha256: str | None = None  # checksum of all other entries


class Study(NamedTuple):
    """The design of a study, without names of runs."""

    name: str
    preset: str  # name as given by the user
    base: RunConfig  # config of the full agent, with seed and game of the first cell
    arms: tuple[Arm, ...]
    games: tuple[str, ...]  # games; empty if the suite has none
    seeds: tuple[int, ...]


class Cell(NamedTuple):
    """One arm on one game with one seed."""

    arm: str
    env: str
    seed: int
    changes: dict[str, Any]
    config: RunConfig


class PlannedRun(NamedTuple):
    """A run that a study needs, and its cells."""

    name: str
    config: RunConfig
    cells: tuple[Cell, ...]

    @property
    def arms(self) -> str:
        """Names of its arms, for tables."""
        return arms_label(cell.arm for cell in self.cells)


def cells_of(study: Study) -> list[Cell]:
    """All cells, interleaved so that a study is balanced at any time.

    The order is by seed, then by game, then by arm: each round contains every arm once.
    """
    tables = study.base.model_dump(mode="json")
    cells = []
    for seed in study.seeds:
        for game in study.games or (None,):
            own = use_env(tables, None, game)
            for arm in study.arms:
                source = f"arm {arm.name!r}"
                config = resolve(own, [f"seed={seed}"], source=source, changes=arm.changes)
                cells.append(Cell(arm.name, config.env_label, seed, arm.changes, config))
    return cells


def plan(study: Study, existing: Mapping[str, str]) -> list[PlannedRun]:
    """The runs that the study needs, in order of execution.

    Args:
      study: the design.
      existing: names of existing runs, by identity.
    """
    by_identity: dict[str, list[Cell]] = {}
    for cell in cells_of(study):
        by_identity.setdefault(cell.config.identity, []).append(cell)
    return [
        PlannedRun(existing.get(identity) or run_name(study, cells[0]), cells[0].config, (*cells,))
        for identity, cells in by_identity.items()
    ]


def run_name(study: Study, cell: Cell) -> str:
    """Name of a run, such as `pong-atari-cpu-value-prefix-seed0-1a2b3c`."""
    parts = (slug(name_start(cell.env, study.preset)), slug(cell.arm), f"seed{cell.seed}")
    return "-".join((*parts, cell.config.identity[:6]))


def default_name(base: RunConfig, preset: str, games: tuple[str, ...], arms: Iterable[Arm]) -> str:
    """Default name of a study. It does not contain seeds, so that seeds can be added."""
    what = base.env_label if len(games) < 2 else f"{len(games)}-games"
    changed = [slug(arm.name) for arm in arms if arm.changes]
    name = "-".join((slug(name_start(what, preset)), *changed))
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


class StudyFolder:
    """The files of one study. Nothing is created before `save`."""

    def __init__(self, runs_dir: Path, name: str) -> None:
        if not is_plain_name(name):
            raise ConfigError("EZ-STUDY-NAME", f"{name!r} cannot name a study.", NAMES)
        self.runs_dir, self.name = runs_dir, name
        self._lock: lock.Lock | None = None
        self.path = runs_dir / STUDIES / name
        self.preset_file = self.path / "preset.toml"
        self.attempts = self.path / "attempts.jsonl"
        self.logs = self.path / "logs"
        self.launcher_file = self.path / "launcher.toml"
        self.jobs = self.path / "jobs"

    @property
    def exists(self) -> bool:
        """Whether a study was ever saved here."""
        return os.path.lexists(self.path / "study.json")

    def record(self) -> StudyRecord:
        """Reads `study.json`.

        Raises:
          RunError: it is missing, or a file of the study was changed.
        """
        path = self.path / "study.json"
        if not self.exists:
            raise RunError(
                "EZ-STUDY-MISSING",
                f"There is no study {self.name!r}.",
                "`ez study status` lists them.",
            )
        try:
            content = read(path, TABLE)
            record = StudyRecord.model_validate_json(content)
            table: dict[str, Any] = json.loads(content)
        except (OSError, ValueError, RecursionError) as error:
            what = str(error.strerror if isinstance(error, OSError) else error)
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                what = ": ".join((".".join(map(str, first["loc"])) or "it", why(first)))
            raise damaged_study(path, what) from error
        if table.pop("sha256", None) not in (None, checksum(table)):
            raise damaged_study(path, "its checksum differs")
        if record.sha256 is not None:
            self._require_whole(record)
        return record

    def _require_whole(self, record: StudyRecord) -> None:
        """Refuses files that were changed after the study wrote them.

        Raises:
          RunError: names the file.
        """
        for path in (self.preset_file, self.attempts):
            if not holds(path, record.seals.get(path.name, {})):
                raise damaged_study(path, "its checksum differs from the one in study.json")
        if not os.path.lexists(self.launcher_file):
            if record.is_launched:
                raise damaged_study(self.launcher_file, "it is missing")
            return
        try:
            is_sealed = read(self.launcher_file, SETTINGS).startswith(SEAL.encode())
            read_toml(self.launcher_file, follow=False)
        except (ConfigError, OSError):
            is_sealed = False
        if not is_sealed:
            raise damaged_study(self.launcher_file, "it was changed after the study wrote it")

    def study(self) -> Study:
        """The saved study.

        Raises:
          EzError: a file of it is damaged, or two contradict each other.
        """
        record = self.record()
        base = resolve(read_toml(self.preset_file, follow=False), source=str(self.preset_file))
        arms = tuple(Arm(arm.name, arm.drops, arm.changes) for arm in record.arms)
        study = Study(self.name, record.preset, base, arms, record.games, record.seeds)
        self._require_consistent(record, study)
        return study

    def _require_consistent(self, record: StudyRecord, study: Study) -> None:
        """Refuses identities in `study.json` that do not match the preset and the arms.

        Raises:
          RunError: names a cell that differs.
        """
        said = {(cell.arm, cell.env, cell.seed): cell.identity for cell in record.cells}
        found = {(c.arm, c.env, c.seed): c.config.identity for c in cells_of(study)}
        for cell in sorted({*said, *found}):
            if said.get(cell) != found.get(cell):
                arm, env, seed = cell
                there, here = (part.get(cell, "not a run") for part in (said, found))
                raise damaged_study(
                    self.path / "study.json",
                    f"it contradicts {self.preset_file.name}: {arm} on {env} with seed {seed} is "
                    f"{there} there, but {here} by the preset and the arms",
                )

    def merge(self, asked: Study) -> tuple[Study, list[str]]:
        """Adds the requested arms, games and seeds to the saved study, with sentences on them.

        Raises:
          ConfigError: the full agent, or an arm with the same name, is different.
        """
        if not self.exists:
            return asked, []
        saved = self.study()
        first: dict[str, Any] = {"seed": saved.base.seed}
        if saved.games and asked.games:
            first["env.game"] = saved.games[0]
        base = as_before(with_changes(asked.base, first), saved.base)
        differing = differences_text(saved.base, base)
        if differing:
            raise ConfigError(
                "EZ-STUDY-OTHER-AGENT",
                f"The study {self.name!r} exists with another full agent ({differing}).",
                f"Choose another --study, or continue this one: {self.go_on}",
            )
        known = {arm.name: arm for arm in saved.arms}
        for arm in asked.arms:
            old = known.setdefault(arm.name, arm)
            if old.changes != arm.changes:
                raise ConfigError(
                    "EZ-STUDY-OTHER-ARM",
                    f"The study {self.name!r} has another arm {arm.name!r}: {old.changes} there, "
                    f"{arm.changes} now.",
                    "Choose another --study.",
                )
        merged = saved._replace(
            arms=tuple(known.values()),
            games=tuple(dict.fromkeys((*saved.games, *asked.games))),
            seeds=tuple(dict.fromkeys((*saved.seeds, *asked.seeds))),
        )
        added = [
            f"New in the study: {name} {', '.join(map(str, new))}."
            for name, new in (
                ("arms", [arm_label(arm.name) for arm in merged.arms[len(saved.arms) :]]),
                ("games", merged.games[len(saved.games) :]),
                ("seeds", merged.seeds[len(saved.seeds) :]),
            )
            if new
        ]
        if ignored := [
            f"{key} = {was!r}"
            for key, was in flat_items(saved.base.model_dump(mode="json", include=UNIDENTIFIED))
            if was != dict(flat_items(base.model_dump(mode="json")))[key]
        ]:
            added.append(f"The study keeps its first settings: {', '.join(ignored)}.")
        return merged, added

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Locks the study while the context is open, and makes its folder.

        Raises:
          RunError: another process works on it, or the folder cannot be written or is a link.
        """
        refuse_links(self.path, self.logs)
        if self.path.parent.is_symlink():
            refuse_links(self.path.parent)
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                asked = stack.enter_context(lock.holding(self.path / ".lock"))
            except OSError as error:
                raise cannot_write_study(self.path, error) from error
            if asked.us is None:
                raise Busy(
                    "EZ-STUDY-BUSY",
                    f"Another process is working on the study {self.name!r}{asked.other}.",
                    "Wait for it or stop it; `ez study status` shows its progress.",
                )
            self._lock = asked
            try:
                yield
            finally:
                self._lock = None

    def save(self, study: Study, runs: Iterable[PlannedRun]) -> None:
        """Writes the study and seals its files. The preset is written only once.

        The preset is written first: without `study.json` there is no study, and the next command
        writes both.

        Raises:
          RunError: the folder cannot be written, or a file was changed after it was read.
        """
        if self.exists:
            self.record()
        with self.writing():
            self.logs.mkdir(parents=True, exist_ok=True)
            if not self.exists:
                write_atomically(self.preset_file, with_seal(to_toml(study.base)).encode())
        record = StudyRecord(
            name=study.name,
            ezcli=__version__,
            preset=study.preset,
            games=study.games,
            seeds=study.seeds,
            arms=tuple(ArmRecord(**arm._asdict()) for arm in study.arms),
            cells=tuple(
                CellRecord(
                    arm=cell.arm,
                    env=cell.env,
                    seed=cell.seed,
                    identity=run.config.identity,
                    run=run.name,
                )
                for run in runs
                for cell in run.cells
            ),
            is_launched=os.path.lexists(self.launcher_file),
            seals={
                self.preset_file.name: seal(self.preset_file),
                self.attempts.name: seal(self.attempts, whole_lines=True),
            },
        )
        table = record.model_dump(mode="json", exclude={"sha256"})
        text = json.dumps(table | {"sha256": checksum(table)}, indent=2) + "\n"
        with self.writing():
            write_atomically(self.path / "study.json", text.encode())

    def save_launcher(self, settings: str) -> None:
        """Saves the launcher and its settings as TOML, for later commands on the study.

        Raises:
          RunError: the folder cannot be written.
        """
        with self.writing():
            write_atomically(self.launcher_file, with_seal(settings).encode())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Context for changing the study's files.

        Raises:
          RunError: they cannot be written, or another process considered ours dead and took over.
        """
        if self._lock is not None and self._lock.is_lost:
            raise Busy(
                "EZ-STUDY-TAKEN-OVER",
                f"Another process took over the study {self.name!r} while this process was "
                "suspended.",
                f"If no other process uses the study, continue with: {self.go_on}",
            )
        try:
            yield
        except OSError as error:
            way_out = f"Fix that, then continue with: {self.go_on}"
            raise cannot_write_study(self.path, error, way_out) from error

    @property
    def go_on(self) -> str:
        """The command that continues the study, to paste into a shell."""
        return ez_command("ablate", study=self.name, runs_dir=self.elsewhere)

    @property
    def elsewhere(self) -> Path | None:
        """The runs folder, if a command needs it to find the study."""
        usual = self.runs_dir.absolute() == Path("runs").absolute()
        return None if usual else self.runs_dir


def damaged_study(path: Path, what: str) -> RunError:
    """The error about a file of a study that cannot be used."""
    return RunError(
        "EZ-STUDY-DAMAGED",
        f"{str(path)!r} is damaged: {what}.",
        "Restore it from a backup, or delete the study's folder and repeat its command. Runs are "
        "kept.",
    )


def cannot_write_study(path: Path, error: OSError, way_out: str = "Choose --runs-dir.") -> RunError:
    """The error about a folder that cannot be written."""
    return RunError(
        "EZ-STUDY-NOT-WRITABLE", f"{str(path)!r} cannot be written: {error.strerror}.", way_out
    )


def study_names(runs_dir: Path) -> list[str]:
    """Names of the studies in a runs folder, without folders whose names are not allowed."""
    names = (path.name for path in folders_with(runs_dir / STUDIES, "study.json"))
    return [name for name in names if is_plain_name(name)]
