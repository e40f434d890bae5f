"""Selection of games and arms in a report."""

from collections.abc import Iterable, Set
from typing import NamedTuple

from ezcli.errors import UnknownName
from ezcli.experiments.design import FULL, arm_label, close
from ezcli.reports.compare import baseline
from ezcli.reports.groups import Group


class Choice(NamedTuple):
    """The selected games and arms."""

    games: tuple[str, ...] = ()  # empty: all
    arms: tuple[str, ...] = ()
    resamples: int = 50_000


def restrict(group: Group, choice: Choice) -> Group:
    """The group with the selected games and arms, and the arms they are compared with."""
    wanted = {arm.name for arm in group.arms if not choice.arms or arm.name in choice.arms}
    wanted |= {baseline(group, arm) for arm in group.arms if arm.name in wanted} | {FULL}
    games = tuple(game for game in group.games if not choice.games or game in choice.games)
    arms = tuple(
        arm._replace(runs={game: seeds for game, seeds in arm.runs.items() if game in games})
        for arm in group.arms
        if arm.name in wanted
    )
    missing = tuple(m for m in group.missing if m.arm in wanted and m.game in games)
    return group._replace(games=games, arms=arms, missing=missing)


def require_known(what: str, wanted: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a name that is in no group."""
    for name in wanted:
        if name not in set(known):
            raise UnknownName(what, name, set(known))


def arms_in(text: str, known: Set[str]) -> list[str]:
    """The arms named in a text, as in files or tables, separated by commas.

    An arm's name can contain commas. At each position the longest name is chosen that leaves a
    valid rest.

    Args:
      text: spaces around commas are ignored.
      known: names of all arms.

    Raises:
      UnknownName: a part is not the name of an arm.
    """
    if text in known:
        return [text]
    text = close(text)
    names = {close(arm_label(name)): name for name in sorted(known)}
    names |= {close(name): name for name in sorted(known)}
    longest_first = sorted(names, key=len, reverse=True)
    after: dict[int, tuple[str, int]] = {}  # the name that starts there, and the start of the next
    for start in range(len(text) - 1, -1, -1):
        if start and text[start - 1] != ",":
            continue
        for name in longest_first:
            end = start + len(name)
            goes_on = text[end : end + 1] == "," and end + 1 in after
            if text.startswith(name, start) and (end == len(text) or goes_on):
                after[start] = name, end + 1
                break
    found, start = [], 0
    while start < len(text):
        if start not in after:
            unknown = [part for part in listed(text) if part not in names]
            raise UnknownName("arm", (unknown or [text])[0], known)
        name, start = after[start]
        found.append(names[name])
    return found


def listed(text: str | None) -> list[str]:
    """The names in `a,b,c`."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
