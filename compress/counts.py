"""Numbers as people type and read them."""

import re


def parse_count(text: str) -> int:
    """'30M' -> 30_000_000; k, M and G are decimal, as in papers.

    Raises:
        ValueError: anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", text, re.ASCII)
    if match is None:
        raise ValueError(f"expected a count such as 30M or 12500000, got {text!r}")
    return round(float(match[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]])


def parse_milliseconds(text: str) -> float:
    """'8ms' and '8' -> 8.0, '0.5s' -> 500.0.

    Raises:
        ValueError: anything else, or no time at all.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|)", text, re.ASCII)
    if match is None or not float(match[1]):
        raise ValueError(f"expected a time such as 8ms or 0.5s, got {text!r}")
    return float(match[1]) * (1000.0 if match[2] == "s" else 1.0)


def short_count(value: float, digits: int = 3) -> str:
    """1_234_567 -> '1.23M': what `parse_count` reads, rounded to 3 to 6 digits."""
    rounded = float(f"{value:.{digits}g}")  # first, so that 999,600 is 1M and not 1000k
    for scale, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(rounded) >= scale:
            return f"{rounded / scale:g}{suffix}"
    return f"{rounded:g}"
