"""The arithmetic of the soak: from what was noted to rows with a target and a verdict."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

SAME_RUN = ("model", "forget", "seed", "samples", "before", "after", "pul", "u_fid", "scale", "previews", "steps_taken")
LONGEST_SENTENCE = 400
SHORT_WAIT = 5.0  # seconds: of less no client is told well or badly


@dataclass(frozen=True)
class Row:
    """A line of the table: what was measured, its target, what it was.

    Attributes:
        held: None where nothing was measured; found: a line per thing that must not be, for who must mend it.
    """

    what: str
    target: str
    had: str
    held: bool | None
    found: tuple[str, ...] = ()

    @property
    def cells(self) -> list[str]:
        """The line as text."""
        return [self.what, self.target, self.had, {True: "held", False: "**not held**", None: "not measured"}[self.held]]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed.

    Raises:
        ValueError: for no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered) - 1e-9) - 1)]


def waiting_error(waits: Sequence[tuple[float, float]]) -> float | None:
    """Median of |told - had| / had over the waits where either is above `SHORT_WAIT`; None if there is none."""
    errors = [abs(told - had) / had for told, had in waits if max(told, had) > SHORT_WAIT and had > 0]
    return percentile(errors, 0.5) if errors else None


def figures_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What two runs of one recipe must have in common, bit for bit."""
    return {name: report.get(name) for name in SAME_RUN}


def is_sentence(text: str) -> bool:
    """Whether an answer is a sentence for people: a capital or a name, several words, a full stop, no traceback."""
    text = unescape(re.sub(r"^<b>[^<]*</b> ", "", text.strip()))  # on the page a title comes first, and all is escaped
    return (
        bool(re.match(r"[A-Z“‘'\"&(\d]|[a-z]+-", text))
        and text.count(" ") >= 2
        and text.endswith((".", "!", "?", ".”", ".)"))
        and len(text) <= LONGEST_SENTENCE
        and "Traceback" not in text
    )


def count_row(what: str, found: Sequence[str], most: int = 0) -> Row:
    """A row for what must not occur; the first of it is shown."""
    example = f": {found[0]}" if found else ""
    return Row(what, str(most), f"{len(found)}{escaped(example)}", len(found) <= most, tuple(found))


def bound_row(what: str, value: float | None, most: float, unit: str = "s", digits: int = 2) -> Row:
    """A row for a number that must not exceed a bound."""
    had = "–" if value is None else f"{value:.{digits}f} {unit}"
    return Row(what, f"≤ {most:g} {unit}", had, None if value is None else value <= most)


def quantile_row(what: str, times: Mapping[str, Sequence[float]], most: float) -> Row:
    """A row for the 95th percentile of all seconds, with the median beside it; those of each kind are for who must mend it."""
    values = [seconds for some in times.values() for seconds in some]
    if not values:
        return Row(what, f"p95 ≤ {most:g} s", "–", None)
    half, most_of = percentile(values, 0.5), percentile(values, 0.95)
    had = f"p50 {half:.2f}, p95 {most_of:.2f} s (n = {len(values)})"
    slow = {kind: some for kind, some in times.items() if percentile(some, 0.95) > most}
    found = tuple(f"{kind}: p95 {percentile(some, 0.95):.2f} s of {len(some)}" for kind, some in slow.items())
    return Row(what, f"p95 ≤ {most:g} s", had, most_of <= most, found)


def growth_row(what: str, first: float | None, last: float | None, share: float) -> Row:
    """A row for a quantity in bytes that must not have grown by more than a share of itself."""
    if first is None or last is None:
        return Row(what, f"within {share:.0%}", "–", None)
    had = f"{first / 2**20:.0f} → {last / 2**20:.0f} MiB ({last / first - 1:+.0%})"
    return Row(what, f"within {share:.0%}", had, last <= first * (1 + share))


def same_row(what: str, first: int, last: int, slack: int) -> Row:
    """A row for a count that must not have grown by more than a few."""
    return Row(what, f"at most {slack} more", f"{first} → {last}", last <= first + slack)


def escaped(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
