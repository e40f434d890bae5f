"""`ez export`: packs a run into one file, or a folder for the Hugging Face Hub."""

import os
import tempfile
from pathlib import Path

from ezcli import console
from ezcli.commands.files import cannot_write, require_place
from ezcli.commands.find import find_run
from ezcli.errors import ConfigError, UnknownName
from ezcli.runs.folder import RunFolder
from ezcli.words import ez_command, size

FORMATS = ("zip", "hub")


def export(run: str, form: str, output: Path | None, runs_dir: Path) -> None:
    """`ez export`."""
    from ezcli.reports.card import model_card
    from ezcli.runs.archive import lay_out, pack

    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    folder = RunFolder(find_run(run, runs_dir))
    target = output or Path(f"{folder.name}.zip" if form == "zip" else f"{folder.name}-hub")
    require_place(target)
    if form == "zip" and target.suffix != ".zip":
        raise ConfigError(
            "EZ-ARCHIVE-NAME",
            f"The name {str(target)!r} does not end in .zip.",
            "Choose a name that ends in .zip.",
        )
    if os.path.lexists(target) and not (form == "zip" and target.is_file()):
        raise ConfigError("EZ-PATH-TAKEN", f"{str(target)!r} already exists.", "Name another.")
    card = model_card(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".tmp-export-", dir=target.parent) as draft:
            laid = Path(draft) / folder.name
            laid.mkdir()
            lay_out(folder, card, laid)
            if form == "zip":
                pack(laid, target)
            else:
                laid.rename(target)
    except OSError as error:
        raise cannot_write(target, error) from error
    if form == "zip":
        console.show(f"{target} ({size(target.stat().st_size)})")
        console.show(f"On another machine: {ez_command('watch', target.name)}")
    else:
        console.show(f"{target}: upload it with `hf upload USER/NAME {target}`.")
