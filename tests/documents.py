"""The documents, and the `ez` commands in them."""

import re
from collections.abc import Iterator
from pathlib import Path

from docs.site import hooks, notebooks, reference

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(
        {*ROOT.glob("*.md"), *(ROOT / n for n in hooks.PAGES), *(ROOT / "docs").rglob("*.md")}
    )
} | notebooks.texts()
HISTORY = {"CHANGELOG.md"}  # of what was, also of commands that have changed since
PLACEHOLDER = re.compile(r"\b(COMMAND|OPTION)\b|…")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(page: str, language: str) -> list[str]:
    """The blocks of a language on a page."""
    return [text for found, text in FENCE.findall(PAGES[page]) if found == language]


def commands(page: str) -> Iterator[str]:
    """The `ez` commands of a page from top to bottom, in a block or within a sentence.

    The name of a command within a sentence, without arguments, is left out.
    """
    text, at, names = PAGES[page], 0, reference.all_commands()
    for fence in [*FENCE.finditer(text), None]:
        prose = text[at : fence.start() if fence else len(text)]
        found = [" ".join(code.split()) for code in re.findall(r"`(ez [^`]+)`", prose)]
        found = [line for line in found if line not in names]
        if fence and fence[1] in ("", "bash"):
            found += [line for line in fence[2].splitlines() if line.startswith("ez ")]
        at = fence.end() if fence else at
        yield from (line for line in found if not PLACEHOLDER.search(line))
