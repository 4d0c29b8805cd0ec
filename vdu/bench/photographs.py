"""What the quality table adds for photographs: the most similar class, which suffers first, and the word of a second judge."""

import statistics
from typing import Any

from vdu.bench.tables import Row, pooled_rate, span, table
from vdu.metrics import frechet_distance
from vdu.report import Report
from vdu.run import Run

GONE, GONE_OF_BEFORE = 0.03, 0.15  # a class is gone below the first forget rate, or the second times its rate before
BAR = {"excess": (0.0, True), "u_fid_ratio": (1.3, True), "nearest_ratio": (0.7, False)}  # as in `quality`
JUDGES = ("", "second_")  # prefixes of their figures


def nearest_class(run: Run, forget: str) -> str:
    """The class most like another: their real pictures have the smallest Fréchet distance, in the judge's features."""
    real = run.task.reference.statistics
    others = [name for name in run.task.concept.retained_classes if name != forget]
    return min(others, key=lambda name: frechet_distance(real[forget], real[name]))


def photograph_figures(run: Run, report: Report) -> Row:
    """Further figures of a run on photographs that forgets one class: shares by both judges, the rest by the second."""
    before, after, nearest = report["before"], report["after"], nearest_class(run, report["forget"])
    row: dict[str, Any] = {"nearest_class": nearest}
    for by in JUDGES:
        was, now = (side[f"{by}class_shares"][nearest] for side in (before, after))
        row |= {f"{by}nearest_before": was, f"{by}nearest": now, f"{by}nearest_ratio": now / max(was, 1e-9)}
    row |= {f"second_forget_rate{key}": side["second_forget_rate"] for key, side in (("_before", before), ("", after))}
    row["second_u_fid_ratio"] = after["second_retain_fid"] / before["second_retain_fid"]
    row["excess"] = max(0.0, after["forget_rate"] - max(GONE, GONE_OF_BEFORE * before["forget_rate"]))
    return row


def photographs_table(tables: dict[str, list[Row]], title: str, meets: dict[str, int]) -> str:
    """A Markdown table with one line per group of runs; where two figures stand, the second is the second judge's.

    Args:
        tables: name of the group -> its rows.
        meets: name of the group -> how many of its rows meet the bar.
    """
    head = [title, "runs × n", "forget rate before, after [95 %]", "by the second judge", "u-FID after ÷ before: both judges",
            "most similar class: its share before → after, by both judges", "least kept share", "clear before → after",
            "unlearning", "whole run", "meet the bar"]  # fmt: skip
    lines = []
    for name, rows in tables.items():

        def mean(figure: str, form: str = "{:.1%}", rows: list[Row] = rows) -> str:
            return form.format(statistics.fmean(row[figure] for row in rows))

        nearest = "; ".join(f"{mean(f'{by}nearest_before')} → {mean(f'{by}nearest')}" for by in JUDGES)
        similar, worst = {row["nearest_class"] for row in rows}, min(rows, key=lambda row: row["least_ratio"])
        lines.append([
            name, f"{len(rows)} × {rows[0]['samples']:,}", f"{mean('forget_rate_before')}, {pooled_rate(rows)}",
            f"{mean('second_forget_rate_before')}, {pooled_rate(rows, 'second_forget_rate')}",
            ", ".join(mean(f"{by}u_fid_ratio", "{:.2f}") for by in JUDGES),
            (f"{similar.pop()}: " if len(similar) == 1 else "") + nearest,
            f"{worst['least_ratio']:.2f} ({worst['least_class']})",
            f"{mean('confident_before')} → {mean('confident')}", span([row["unlearn_s"] for row in rows]),
            span([row["seconds"]["total"] for row in rows]), f"{meets[name]} of {len(rows)}",
        ])  # fmt: skip
    return table(head, lines)
