"""Amounts in words, as people write them."""


def duration(seconds: float) -> str:
    """Such as `1 h 05 min`, `3 min 20 s`, `12 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def size(count: int) -> str:
    """Bytes, such as `3.7 MiB`, `2.0 GiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def counted(count: int, noun: str) -> str:
    """Such as `1 run`, `20 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def quantity(count: float) -> str:
    """Three digits and a prefix of the SI, such as `8.35 M`, `151 M`, `66.9 P`."""
    for power, prefix in ((15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 0.9995 * 10**power:
            return f"{count / 10**power:#.3g}".rstrip(".") + f" {prefix}"
    return f"{count:.3g}"
