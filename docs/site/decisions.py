"""The numbered decisions in `docs/decisions`, and their list: `python -m docs.site.decisions`."""

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "decisions"
INDEX = FOLDER / "index.md"
FIELDS = ("Context", "Decision", "Consequence", "Status")
HEADING = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)

BEFORE = """# Decisions

Each record has a context, a decision, its consequence and a status: `accepted`, or `replaced by`
another number. To add one, take the next number, write the record in the file of its topic, and run
`.venv/bin/python -m docs.site.decisions`, which writes this list.

| | decision | topic |
|---:|---|---|
"""


class Record(NamedTuple):
    """One decision."""

    number: int
    title: str
    page: str  # file name
    topic: str  # title of that file
    fields: tuple[str, ...]  # names, in their order


def records() -> list[Record]:
    """All decisions, by number."""
    found = []
    for path in FOLDER.glob("*.md"):
        if path == INDEX:
            continue
        title, *rest = path.read_text(encoding="utf-8").partition("\n")
        topic = title.removeprefix("# Decisions: ")
        pieces = HEADING.split("".join(rest))[1:]
        for number, name, text in zip(*(iter(pieces),) * 3, strict=True):
            fields = tuple(re.findall(r"^- (\w+):", text, re.MULTILINE))
            found.append(Record(int(number), name, path.name, topic, fields))
    return sorted(found)


def anchor(record: Record) -> str:
    """The anchor of a record's heading, the same on GitHub and on the site."""
    title = re.sub(r"[^\w\- ]", "", f"{record.number}. {record.title}".lower())
    return re.sub(r" ", "-", title)


def index() -> str:
    """The list of all decisions."""
    rows = [
        f"| {one.number} | [{one.title}]({one.page}#{anchor(one)}) | {one.topic} |"
        for one in records()
    ]
    return BEFORE + "\n".join(rows) + "\n"


if __name__ == "__main__":
    INDEX.write_text(index(), encoding="utf-8")
