"""The tables: medians, ratios, targets and verdicts, and the quality of every run."""

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from vdu.bench.speed.cases import BESIDE, CASES, MEMORY, MODELS, PAGE, SAMPLER, STEP
from vdu.comparison import ratio

Pair = tuple[float | None, float | None]
NOTHING = "–"


@dataclass(frozen=True)
class Ran:
    """A whole run.

    Attributes:
        case: of `CASES`; build: 0 for the older one, 1 for the present one; busy: whether beside a busy process.
        seed: of its recipe; seconds: from the start of the process to its end; report: what it wrote, maybe with fewer keys.
    """

    case: str
    build: int
    busy: bool
    seed: int
    seconds: float
    report: dict[str, Any] = field(repr=False)

    def figure(self, *keys: str) -> float | None:
        """A number of the report, by the keys that lead to it; None if it is not there."""
        found: Any = self.report
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def change(self, key: str) -> float | None:
        """A figure after the run, in units of what it was before."""
        return ratio(self.figure("after", key), self.figure("before", key))


def median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are there; None for none."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


@dataclass(frozen=True)
class Row:
    """A row of a table of two columns.

    Attributes:
        what: in words; values: in both columns; unit: of these.
        most: the target, which the quotient of the columns must not exceed; or the second column, if `alone`.
    """

    what: str
    values: Pair
    unit: str
    most: float | None = None
    alone: bool = False

    @property
    def quotient(self) -> float | None:
        """The second column in units of the first."""
        return ratio(*reversed(self.values))

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None without target, or if it was not measured."""
        judged = self.values[1] if self.alone else self.quotient
        return None if self.most is None or judged is None else judged <= self.most

    @property
    def cells(self) -> list[str]:
        """The row as text."""
        unit = f" {self.unit}" if self.unit else ""
        target = NOTHING if self.most is None else f"≤ {self.most:g}{unit if self.alone else ''}"
        columns = [number(value, unit) for value in self.values]
        return [self.what, *columns, number(self.quotient), target, {None: NOTHING, True: "met", False: "missed"}[self.met]]


def number(value: float | None, unit: str = "", form: str = "") -> str:
    """A number as text, with three digits or all before its point, or in a form of its own."""
    return NOTHING if value is None else f"{value:{form or ('.0f' if abs(value) >= 100 else '#.3g')}}{unit}"


MEASURES: dict[str, tuple[Callable[[Ran], float | None], str]] = {  # measure -> its value, its unit
    "whole run": (lambda ran: ran.seconds, "s"),
    "unlearning": (lambda ran: ran.figure("seconds", "unlearn"), "s"),
    "peak memory": (lambda ran: ran.figure("peak_memory_mib"), "MiB"),
}


def medians(runs: list[Ran], case: str, busy: bool, measure: str) -> Pair:
    """The medians of a measure over the runs of either build."""
    value, _ = MEASURES[measure]
    older, newer = ([value(ran) for ran in runs if (ran.case, ran.busy, ran.build) == (case, busy, build)] for build in (0, 1))
    return median(older), median(newer)


def run_rows(runs: list[Ran]) -> list[Row]:
    """The rows of all cases that were run: quiet ones, and those beside a busy process if there are any."""
    rows = []
    for name in dict.fromkeys(ran.case for ran in runs):
        case, busy = CASES[name], any(ran.busy for ran in runs if ran.case == name)
        for measure, most in zip(MEASURES, (case.whole, case.unlearn, MEMORY), strict=True):
            rows.append(Row(f"{case.title}: {measure}", medians(runs, name, False, measure), MEASURES[measure][1], most))
        if busy:
            quiet, beside = (medians(runs, name, one, "whole run") for one in (False, True))
            slower = ratio(beside[0], quiet[0]), ratio(beside[1], quiet[1])
            rows.append(Row(f"{case.title}: whole run beside a busy process", beside, "s"))
            rows.append(Row(f"{case.title}: the same, in quiet runs of the same build", slower, "", BESIDE, alone=True))
    return rows


def start_rows(models: Pair, page: Pair) -> list[Row]:
    """The rows of what is started, in seconds."""
    return [Row("`vdu models`", models, "s", MODELS, alone=True), Row("first page", page, "s", PAGE, alone=True)]


def kernel_rows(title: str, seconds: dict[str, Pair]) -> list[Row]:
    """The rows of a model's kernels; see `kernels.of_model`."""
    most = {"sampler": SAMPLER, "step": STEP}
    return [Row(f"{title}: {kernel}", pair, "s", most[kernel]) for kernel, pair in seconds.items()]


QUALITY = ["run", "build", "seed", "forget rate [95 %]", "u-FID after ÷ before", "shares moved (TV)", "least kept share",
           "IRA, CRA after ÷ before"]  # fmt: skip


def quality_cells(ran: Ran, build: str) -> list[str]:
    """A run's quality as text."""
    rate, ends = ran.figure("after", "forget_rate"), ran.figure("after", "forget_rate_ci95")
    interval = f" [{ends[0]:.1%}–{ends[1]:.1%}]" if ends else ""
    prompts = [ran.change("ira"), ran.change("cra")]
    return [
        CASES[ran.case].title + (", beside a busy process" if ran.busy else ""),
        build,
        str(ran.seed),
        number(rate, interval, ".1%"),
        number(ran.change("retain_fid"), "", ".2f"),
        number(ran.figure("after", "retained_share_tv"), "", ".3f"),
        number(ran.figure("after", "least_retained_ratio"), "", ".2f"),
        NOTHING if prompts == [None, None] else ", ".join(number(value, "", ".2f") for value in prompts),
    ]
