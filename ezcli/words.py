"""Formatting of amounts, and of commands to paste into a shell."""

import json
import re
import shlex
import string
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

# Characters that control a terminal or change the order of text: C0 and C1 controls, DEL, and
# Unicode's line separators, paragraph separators and direction marks.
STEERING = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
UNPRINTABLE = re.compile(f"(?!\n)[{STEERING}]")
NO_LETTERS = re.compile("[\ud800-\udfff]")  # of file names that are not UTF-8
PLAIN = frozenset(string.ascii_letters + string.digits + "._/-")


def ez_command(verb: str, *operands: str | Path, **options: str | Path | None) -> str:
    """A command of `ez` to paste into a shell. Names and paths are quoted.

    Args:
      verb: the command, such as `resume` or `study status`.
      operands: its arguments. A path remains a path even if it looks like the name of a run.
      options: by name, such as `runs_dir`; None leaves one out.
    """
    given = [
        word
        for name, value in options.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    texts = [operand_text(operand) for operand in operands]
    if any(text.startswith("-") for text in texts):
        return shell_line(["ez", *verb.split(), *given, "--", *texts])
    return shell_line(["ez", *verb.split(), *texts, *given])


def operand_text(operand: str | Path) -> str:
    """An operand of `ez`. A path of one part is marked as a path, not the name of a run."""
    if isinstance(operand, Path) and len(operand.parts) == 1:
        return str(operand.absolute())
    return str(operand)


def shell_line(words: Iterable[str]) -> str:
    """A command to paste into a shell."""
    return " ".join(map(shell_word, words))


def shell_word(word: str) -> str:
    r"""A word quoted for a shell.

    Characters that a terminal or page would change, such as control characters or the second of two
    spaces, are written as `$'\x1b'`, which bash and zsh understand.
    """
    if word.isprintable() and "  " not in word:
        return shlex.quote(word)
    letters = map(chr, word.encode(errors="surrogateescape"))
    spelt = "".join(c if c in PLAIN else f"\\x{ord(c):02x}" for c in letters)
    return f"$'{spelt}'"


def json_text(value: Any) -> str:
    """JSON with a final line feed, in which characters that control a terminal are escaped.

    Raises:
      ValueError: a number is not finite.
    """
    return spelt_out(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def spelt_out(text: str) -> str:
    """Escapes characters that control a terminal in JSON or TOML."""
    text = NO_LETTERS.sub("\ufffd", text)
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def duration(seconds: float) -> str:
    """Formats seconds, such as `2 d 07 h`, `1 h 05 min`, `3 min 20 s`, `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        days, hours = divmod(round(hours + minutes / 60), 24)
        return f"{days} d {hours:02d} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Formats bytes, such as `3.7 MiB`, `2.0 GiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def counted(count: int, noun: str) -> str:
    """Formats a count with its noun, such as `1 run`, `20 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def counted_range(counts: Collection[int], noun: str) -> str:
    """Formats a range of counts, such as `1 run`, `5 runs` or `3 to 5 runs`."""
    least, most = min(counts), max(counts)
    start = f"{least:,} to " if least < most else ""
    return start + counted(most, noun)


def listed(texts: Sequence[str]) -> str:
    """Joins texts, such as `a`, `a and b` or `a, b and c`."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def quantity(count: float) -> str:
    """Formats a number with three digits and an SI prefix, such as `8.35 M`, `151 M`, `66.9 P`."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 0.9995 * 10**power:
            return f"{count / 10**power:#.3g}".rstrip(".") + f" {prefix}"
    return f"{count:.3g}"


def broken(name: str, width: int) -> list[str]:
    """Breaks a name into lines of at most `width` characters, after a separator if possible.

    Numbers are not broken, nor words joined by underscores that fit into a line.
    """
    lines = [""]
    pieces: list[str] = []
    for piece in re.split(r"(?<=[,= ])|(?<=[-+.])(?!\d)", name):
        pieces += [piece] if len(piece) <= width else re.split("(?<=_)", piece)
    for piece in pieces:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return lines
