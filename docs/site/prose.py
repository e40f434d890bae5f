"""Checks the wording of documents, help, errors and docstrings: `python -m docs.site.prose`.

It refuses the phrases in `vocabulary.toml`, and in documents sentences of more than `LONGEST`
words. It skips code, tables of results and targets of links. `make lint` runs it.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from docs.site import notebooks, reference
from docs.site.hooks import PAGES, ROOT

LONGEST = 40  # words of a sentence in a document
VOCABULARY = tomllib.loads(Path(__file__).with_name("vocabulary.toml").read_text(encoding="utf-8"))
EVERYWHERE, DOCUMENTS = (
    {
        re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE): better
        for pattern, better in VOCABULARY[part].items()
    }
    for part in ("everywhere", "documents")
)
OUTSIDE = (
    re.compile(r"^<!-- (?!end).*?^<!-- end -->$", re.MULTILINE | re.DOTALL),  # tables of reports
    re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL),
    re.compile(r"(?<=\n\n)(?:    .*\n)+"),  # indented code
)
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n\s*\n|\n(?=\s*(?:[-*#>|]|\d+\.))")


def documents() -> dict[str, str]:
    """The text of every document, by its path."""
    paths = [ROOT / name for name in PAGES if name != "CHANGELOG.md"]  # a record of the past
    paths += sorted((ROOT / "docs").rglob("*.md"))
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    return texts | notebooks.texts()


def docstrings() -> Iterator[tuple[str, str]]:
    """Name and text of every docstring in `ezcli`."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in sorted((ROOT / "ezcli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                owner = getattr(node, "name", "module")
                yield f"{path.relative_to(ROOT).as_posix()}, docstring of {owner}", text


def prose(text: str) -> str:
    """A document with what is not prose blanked, each character in its place."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    for part in OUTSIDE:
        text = part.sub(blank, text)
    text = re.sub(r'"[^"\n]*"', blank, text)  # quoted, such as what not to write
    text = re.sub(r"`[^`\n]*`", lambda match: f"`{'x' * (len(match[0]) - 2)}`", text)
    return re.sub(r"\]\([^)]*\)", lambda match: "]" + " " * (len(match[0]) - 1), text)


def complaints(name: str, text: str, is_document: bool = True) -> Iterator[str]:
    """A line for each phrase and sentence that should be rewritten."""
    text = prose(text) if is_document else text

    def at(place: int) -> str:
        return f"{name}:{text.count(chr(10), 0, place) + 1}"

    for pattern, better in {**EVERYWHERE, **(DOCUMENTS if is_document else {})}.items():
        for match in pattern.finditer(text):
            yield f"{at(match.start())}: {' '.join(match[0].split())!r}: {better}"
    if is_document:
        start = 0
        for sentence in SENTENCE.split(text):
            start = text.index(sentence, start)
            words = len(re.findall(r"\w[\w'`./-]*", sentence))
            if words > LONGEST and "|" not in sentence:
                first = start + len(sentence) - len(sentence.lstrip())
                yield f"{at(first)}: a sentence of {words} words: split it"


def main() -> int:
    """Prints all complaints; 1 if there are any."""
    found = [line for name, text in documents().items() for line in complaints(name, text)]
    sentences = reference.FILE.read_text(encoding="utf-8").splitlines()
    errors = "\n".join(map(reference.plain, sentences))
    found += complaints("tests/errors.txt", errors, is_document=False)
    found += complaints("help of commands", reference.commands(), is_document=False)
    for name, text in docstrings():
        found += complaints(name, text, is_document=False)
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
