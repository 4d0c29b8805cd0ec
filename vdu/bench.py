"""Measure what the README claims: `python -m vdu bench quality`."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vdu.errors import UserError
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.unlearn import Run, unlearn

# The bar for one run of the default recipe: figure -> (limit, whether smaller is better).
BAR = {"forget_rate": (0.02, True), "u_fid_ratio": (1.5, True), "least_ratio": (0.5, False), "unlearn_s": (40.0, True)}
HEADER = (
    "forget seed | before   after  95 % interval | u-FID before  after  ratio  floor | least kept share | TV    | drift "
    "| steps    s"
)


def row_of(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of the table from a report."""
    before, after = report["before"], report["after"]
    return {
        "forget": report["forget"],
        "seed": report["seed"],
        "forget_rate_before": before["forget_rate"],
        "forget_rate": after["forget_rate"],
        "forget_rate_ci95": after["forget_rate_ci95"],
        "u_fid_before": before["retain_fid"],
        "u_fid": after["retain_fid"],
        "u_fid_ratio": after["retain_fid"] / before["retain_fid"],
        "u_fid_floor": after["retain_fid_floor"],
        "least_ratio": after["least_retained_ratio"],
        "least_class": after["least_retained_class"],
        "share_tv": after["retained_share_tv"],
        "drift": after["retained_drift"],
        "steps": report["steps_taken"],
        "scale": report["scale"],
        "stopped_because": report["stopped_because"],
        "unlearn_s": report["seconds"]["unlearn"],
    }


def line_of(row: dict[str, Any]) -> str:
    """One line of the table."""
    low, high = row["forget_rate_ci95"]
    return (
        f"{row['forget']:>6} {row['seed']:>4} | {row['forget_rate_before']:6.1%} {row['forget_rate']:7.2%}  "
        f"[{low:.2%}–{high:.2%}] | {row['u_fid_before']:12.3f} {row['u_fid']:6.3f} {row['u_fid_ratio']:6.2f} "
        f"{row['u_fid_floor']:6.3f} | {row['least_ratio']:.2f} ({row['least_class']}){'':8} | {row['share_tv']:.3f} | "
        f"{row['drift']:.3f} | {row['steps']:5} {row['unlearn_s']:4.0f}"
    )


def misses(row: dict[str, Any]) -> list[str]:
    """Which limits of the bar a row misses."""
    return [name for name, (limit, small) in BAR.items() if (row[name] > limit if small else row[name] < limit)]


def quality(
    forgets: list[str], seeds: list[int], samples: int, method: str | None, target: Path, show: Callable[[str], None]
) -> None:
    """Run the default recipe for every class and seed; print a row each, and write them all as JSON.

    Rows already in `target` with the same recipe are kept, so that a long table can be made in parts.

    Raises:
        UserError: if `target` holds something else.
    """
    rows: list[dict[str, Any]] = read_rows(target)
    print(HEADER, flush=True)
    for seed in seeds:  # seeds outside, so that a table cut short has every class
        for forget in forgets:
            recipe = Recipe.from_dict(
                {"forget": forget, "seed": seed, "samples": samples} | ({"method": method} if method else {})
            )
            row = next((row for row in rows if row["recipe"] == recipe.to_dict()), None)
            if row is None:
                started = time.monotonic()
                run = Run(recipe)
                for _ in unlearn(run):
                    pass
                row = row_of(report_of(run)) | {"recipe": recipe.to_dict()}
                rows.append(row)
                target.write_text(json.dumps(rows, indent=1) + "\n")
                show(f"{time.monotonic() - started:.0f} s for the row below; {row['stopped_because']}")
            print(line_of(row) + "".join(f"  MISSES {name}" for name in misses(row)), flush=True)
    print(summary(rows))


def read_rows(target: Path) -> list[dict[str, Any]]:
    """The rows of an earlier table, or none."""
    if not target.exists():
        return []
    try:
        rows = json.loads(target.read_text())
        assert all("recipe" in row for row in rows)
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"'{target}' exists and is not a table of this command; choose another --out.") from error
    return rows


def summary(rows: list[dict[str, Any]]) -> str:
    """Means and worst cases of a table."""

    def of(name: str) -> list[float]:
        return [row[name] for row in rows]

    count = len(rows)
    return (
        f"{count} runs: forget rate mean {sum(of('forget_rate')) / count:.2%}, worst {max(of('forget_rate')):.2%}; "
        f"u-FID ratio mean {sum(of('u_fid_ratio')) / count:.2f}, worst {max(of('u_fid_ratio')):.2f}; least kept share "
        f"{min(of('least_ratio')):.2f}; TV mean {sum(of('share_tv')) / count:.3f}; "
        f"unlearning mean {sum(of('unlearn_s')) / count:.0f} s, longest {max(of('unlearn_s')):.0f} s; "
        f"{sum(not misses(row) for row in rows)} of {count} meet the bar"
    )
