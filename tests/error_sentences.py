"""Every sentence of an error, read from the source: `.venv/bin/python -m tests.error_sentences`.

`tests/errors.txt` holds them beside their codes, so that a change of wording is one changed line
there and in no test.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ezcli"
FILE = Path(__file__).with_name("errors.txt")
CODE = re.compile(r"EZ(-[A-Z0-9]+){2,}")


@cache
def modules() -> list[ast.Module]:
    """The source of the package."""
    return [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]


def name_of(call: ast.Call) -> str:
    """What is called, without what it belongs to."""
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def error_classes() -> set[str]:
    """`EzError` and all that derive from it."""
    bases = {
        node.name: {getattr(base, "id", "") for base in node.bases}
        for module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
    }
    found = {"EzError"}
    while new := {name for name, above in bases.items() if above & found} - found:
        found |= new
    return found


def makers() -> dict[str, str]:
    """Functions that make an error from a part of its sentence, and its code."""
    kinds = error_classes()
    found = {}
    for module in modules():
        for function in ast.walk(module):
            if (
                isinstance(function, ast.FunctionDef)
                and getattr(function.returns, "id", "") in kinds
            ):
                codes = [text for text in strings(function) if CODE.fullmatch(text)]
                if len(codes) == 1:
                    assert function.name not in found, f"two modules have a {function.name}"
                    found[function.name] = codes[0]
    return found


def strings(node: ast.AST) -> list[str]:
    """All literal texts in some source."""
    return [
        one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def errors() -> Iterator[ast.Call]:
    """Every place where an error is made."""
    kinds = error_classes() | makers().keys() | {"DoesNotFit"}
    for module in modules():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and name_of(node) in kinds:
                yield node


def template(node: ast.expr) -> str:
    """An expression as a reader of messages knows it: text with {what is filled in}."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value) + "}"
    return "{" + ast.unparse(node) + "}"


def sentences() -> list[str]:
    """A line for each place: the code, the message and the way out."""
    codes, lines = makers(), set()
    for call in errors():
        kind, texts = name_of(call), [template(argument) for argument in call.args]
        if kind == "UnknownName":
            line = f"EZ-UNKNOWN-{texts[0].upper().replace(' ', '-')}: {texts[1]}"
        elif kind == "DoesNotFit":
            line = f"EZ-CONFIG-COMBINATION: ... {texts[0]}"
        elif kind in codes:
            line = f"{codes[kind]}: ... {' | '.join(texts)}"
        else:
            line = f"{texts[0]}: {' | '.join(texts[1:])}"
        lines.add(line)
    return sorted(lines)


if __name__ == "__main__":
    FILE.write_text("\n".join(sentences()) + "\n", encoding="utf-8")
