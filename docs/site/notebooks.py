"""The notebooks of `docs/notebooks`: as pages of the site, and executed.

A notebook is stored without outputs, so that a change shows what somebody wrote. The figures of a
page are images in `docs/images/notebooks`, named after the notebook and the cell. To execute all
notebooks and draw their figures anew: `python -m docs.site.notebooks [NAME]`.
"""

import base64
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "notebooks"
FIGURES = ROOT / "docs" / "images" / "notebooks"
VERSION = 4  # of the format
TIMEOUT = 600  # seconds that a cell may take


def paths() -> list[Path]:
    """Every notebook."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> Any:
    """A notebook as nbformat represents it."""
    return nbformat.read(path, as_version=VERSION)


def figure_path(notebook: str, cell: str) -> Path:
    """Where the figure of a cell is stored."""
    return FIGURES / f"{notebook}-{cell}.png"


def texts() -> dict[str, str]:
    """Every notebook as Markdown, by its path in the repository."""
    return {path.relative_to(ROOT).as_posix(): text_of(path) for path in paths()}


def text_of(path: Path) -> str:
    """A notebook as Markdown: code in fences, and the stored figure of a cell below it."""
    parts, heading = [], ""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            lines = (line for line in cell.source.splitlines() if line.startswith("#"))
            heading = next(lines, heading).lstrip("# ")
            continue
        parts.append(f"```python\n{cell.source}\n```")
        figure = figure_path(path.stem, cell.id)
        if figure.exists():
            parts.append(f"![Figure: {heading}](../images/notebooks/{figure.name})")
    return "\n\n".join(parts) + "\n"


def executed(path: Path, folder: Path) -> Any:
    """The notebook with its outputs, after its cells ran in a folder.

    Raises:
      CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient  # the site does not need it

    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(read(path), timeout=TIMEOUT, resources=resources)
    # A backend that this process was given, or that a module sets when imported (envpool does), is
    # not inherited: the kernel chooses its own, which puts figures into the notebook.
    return client.execute(env={k: v for k, v in os.environ.items() if k != "MPLBACKEND"})


def figures(notebook: Any) -> Iterator[tuple[str, bytes]]:
    """The id of each cell that drew a figure, and its PNG."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield cell.id, base64.b64decode(output.data["image/png"])


def main(names: list[str]) -> None:
    """Executes notebooks, all if none is named, and stores their figures."""
    FIGURES.mkdir(exist_ok=True)
    for path in paths():
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = dict(figures(executed(path, Path(folder))))
        for old in FIGURES.glob(f"{path.stem}-*.png"):
            old.unlink()
        for cell, png in found.items():
            figure_path(path.stem, cell).write_bytes(png)


if __name__ == "__main__":
    main(sys.argv[1:])
