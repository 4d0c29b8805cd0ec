"""Matplotlib charts of a run, as SVG text that takes its text colour from the page around it."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vdu.comparison import Point, pareto_front

BEFORE, AFTER, FORGOTTEN, PLASTICITY, STABILITY = "#9aa5b1", "#2f6fde", "#e84a3f", "#d9822b", "#1f9d76"
MODELS = {"original": BEFORE, "unlearned": AFTER, "retrained": STABILITY, "untrained": PLASTICITY}  # in the chart of attacks
LINES = ("o-", "s--", "^:")
MARKERS = ("o", "s", "^", "D")
PANEL = 3.6  # inches of the height of a panel of `pareto`
SMOOTHING = 20  # steps in the running mean of the loss terms
INK = "#010203"  # stands for the page's own text colour
WIDTH = 4.3  # inches of a chart on the page, narrow so that on a phone too its letters are as large as those around it
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vdu",
    "font.family": "sans-serif",
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def svg(figure: Figure, description: str) -> str:
    """The figure as an inline SVG element with a description for screen readers, as wide as its container."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{description}" style="width:100%;height:auto"', 1)


ABOVE = {"frameon": False, "ncols": 3, "loc": "lower center", "bbox_to_anchor": (0.5, 0.97), "handlelength": 1.3,
         "columnspacing": 1.2}  # a legend above its axes  # fmt: skip
TITLE = {"loc": "left", "fontsize": 12, "fontweight": "bold", "pad": 28}  # a title above such a legend
LABEL = 20  # letters of a class's name under its bars at most


def class_shares(before: dict[str, Any], after: dict[str, Any] | None, forget: str) -> str:
    """Bars of each class's share of the samples, before and after; the forgotten class in red."""
    names = list(before["class_shares"])
    # Of a pair, only the class on the charted axis has a bar.
    forgotten = {forget} if forget in names else {*forget.split(), *forget.split(" or ")}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.5))
        axes = figure.subplots()
        places = range(len(names))
        axes.bar([place - 0.2 for place in places], shares(before), 0.38, color=BEFORE, label="before")
        if after:
            colours = [FORGOTTEN if name in forgotten else AFTER for name in names]
            axes.bar([place + 0.2 for place in places], shares(after), 0.38, color=colours, label="after")
        long = max(map(len, names)) > 3
        labels = [escape_dollars(name if len(name) <= LABEL else f"{name[:LABEL]}…") for name in names]
        axes.set_xticks(list(places), labels, rotation=40 if long else 0, ha="right" if long else "center")
        axes.tick_params(axis="x", labelsize=12 if len(names) <= 12 else 9)
        axes.set_ylabel("% of samples")
        handles = [matplotlib.patches.Patch(color=BEFORE, label="before")]
        if after:
            handles += [
                matplotlib.patches.Patch(color=AFTER, label="after"),
                matplotlib.patches.Patch(color=FORGOTTEN, label=escape_dollars(f"after: {forget}")),
            ]
        axes.legend(handles=handles, **ABOVE)
        return svg(figure, "Share of each class among the samples, before and after")


def escape_dollars(text: str) -> str:
    """Text with its dollar signs escaped: between two of them Matplotlib expects a formula."""
    return text.replace("$", r"\$")


def shares(figures: dict[str, Any]) -> list[float]:
    """Class shares in percent."""
    return [100 * share for share in figures["class_shares"].values()]


def running_mean(values: list[float], width: int) -> list[float]:
    """The mean of each value and up to `width` - 1 values before it: the trend without the noise of single batches."""
    return [sum(part) / len(part) for part in (values[max(0, end - width) : end] for end in range(1, len(values) + 1))]


def curves(steps: list[dict[str, float]], previews: list[dict[str, float]]) -> str:
    """Two panels over the steps: the two loss terms, and the forget rate with the damage.

    Args:
        steps: dicts of step, plasticity and stability.
        previews: dicts of step, forget_rate and damage.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6))
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.5})
        numbers = [row["step"] for row in steps]
        twin = top.twinx()
        twin.spines["right"].set_visible(True)
        lines = []
        for axes, term, colour in ((top, "plasticity", PLASTICITY), (twin, "stability", STABILITY)):
            values = [row[term] for row in steps]
            axes.plot(numbers, values, color=colour, alpha=0.25, linewidth=1)
            lines += axes.plot(numbers, running_mean(values, SMOOTHING), color=colour)
        top.legend(lines, ["plasticity (left)", "stability (right)"], **ABOVE)
        top.set_title("The two terms of the loss", **TITLE)
        places = [row["step"] for row in previews]
        bottom.plot(places, [100 * row["forget_rate"] for row in previews], "o-", color=FORGOTTEN, label="forget rate")
        bottom.plot(places, [100 * row["damage"] for row in previews], "s--", color=BEFORE, label="kept images changed")
        bottom.set_ylim(bottom=0)
        bottom.set_ylabel("%")
        bottom.set_xlabel("step")
        bottom.set_title("Estimated at the previews", **TITLE)
        bottom.legend(**ABOVE)
        return svg(figure, "Loss terms, estimated forget rate and damage over the steps")


def class_memory(rows: list[dict[str, Any]], window: tuple[int, int]) -> Figure:
    """How often an image noised to t is drawn as its class again, and the default window of timesteps.

    Args:
        rows: dicts of t, same_class and same_class_ci95, as `bench.timesteps` writes them.
        window: first and last timestep of the shaded range.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 2.8))
        axes = figure.subplots()
        rows = sorted(rows, key=lambda row: row["t"])
        places = [row["t"] for row in rows]
        low, high = ([100 * row["same_class_ci95"][side] for row in rows] for side in (0, 1))
        axes.axvspan(*window, color=AFTER, alpha=0.12, linewidth=0, label=f"default window, t = {window[0]}–{window[1]}")
        axes.fill_between(places, low, high, color=FORGOTTEN, alpha=0.2, linewidth=0)
        axes.plot(
            places, [100 * row["same_class"] for row in rows], "o-", color=FORGOTTEN, label="drawn as the same class again"
        )
        axes.set(xlabel="t to which a real image is noised", ylabel="% of images", ylim=(0, 102), xlim=(0, 1000))
        axes.legend(**ABOVE | {"ncols": 1})
        return figure


def trade_off(points: dict[str, list[tuple[float, float]]]) -> Figure:
    """Forget rate against damage: one colour per setting, one point per run.

    Args:
        points: name -> (forget rate after, u-FID after ÷ before) of each run.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.subplots()
        for number, (name, runs) in enumerate(points.items()):
            rates, ratios = zip(*runs, strict=True)
            style = {"color": f"C{number}", "marker": MARKERS[number // 10 % 4]}  # Matplotlib's cycle has ten colours
            axes.scatter([100 * rate for rate in rates], ratios, s=26, alpha=0.75, label=name, **style)
        axes.axhline(1, color=BEFORE, linewidth=1, linestyle=":")
        axes.set(xlabel="forget rate after, %", ylabel="u-FID after ÷ before", yscale="log")
        axes.set_xlim(left=0)
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter("{x:g}")  # as powers of ten, ratios near 1 are hard to read
        axes.tick_params(axis="y", which="both", labelsize=8)
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
        return figure


def pareto(panels: Mapping[str, tuple[str, Mapping[str, Point]]]) -> Figure:
    """Forget rate and cost with intervals, one point per name, and the front of those that no other beats.

    Down and to the left is better. Names on the front have filled marks.

    Args:
        panels: title of a panel, "" for none -> label of the cost, and name -> forget rate after, in percent, and cost.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, PANEL * len(panels)), layout="constrained")
        parts = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axes, (title, (cost, points)) in zip(parts, panels.items(), strict=True):
            axes.set_title(escape_dollars(title), loc="left", fontsize=12, fontweight="bold")
            pareto_panel(axes, points, cost)
        return figure


def pareto_panel(axes: Axes, points: Mapping[str, Point], cost: str) -> None:
    """One panel of `pareto`."""
    front = pareto_front(points)
    for number, (name, (rate, height, *ends)) in enumerate(points.items()):
        both = zip((rate, height), ends, strict=True)
        sides = [[[max(0, value - low)], [max(0, high - value)]] for value, (low, high) in both]
        colour, marker = f"C{number % 10}", MARKERS[number % len(MARKERS)]
        axes.errorbar(
            [rate], [height], *reversed(sides), fmt=marker, color=colour, label=name, markersize=9, markeredgewidth=2,
            markerfacecolor=colour if name in front else "none", elinewidth=1.5, capsize=3,
        )  # fmt: skip
    axes.margins(0.1)
    (right, top), edge = (axes.get_xlim()[1], axes.get_ylim()[1]), 0.04  # so that marks at 0 are seen as a whole
    axes.set(xlabel="forget rate after, %", ylabel=cost, xlim=(-edge * right, right), ylim=(-edge * top, top))
    rates, heights = zip(*sorted(points[name][:2] for name in front), strict=True)
    corners = {"where": "post", "color": INK, "alpha": 0.7, "linestyle": "--", "linewidth": 1.2, "zorder": 0}
    (line,) = axes.step([rates[0], *rates, right], [top, *heights, heights[-1]], **corners)
    handles = [*(handle[0] for handle in axes.get_legend_handles_labels()[0]), line]
    labels = [*map(escape_dollars, points), "Pareto front"]
    axes.legend(handles, labels, frameon=False, ncols=2, fontsize=11, loc="upper center", bbox_to_anchor=(0.5, -0.24))


def attacks(parts: Sequence[dict[str, Any]]) -> Figure:
    """One panel per attack, side by side: a colour per model, a kind of line per thing that was done to it.

    Args:
        parts: dicts of title, x and y (labels), doubling (whether the axis is one of doublings, with a place for 0), and rows:
            dicts of model, series, at (a number, or a name), value in [0, 1] and ci95.
    """
    with matplotlib.rc_context(STYLE):
        named = [isinstance(part["rows"][0]["at"], str) for part in parts]
        most = max((len(names_of(part)) for part, names in zip(parts, named, strict=True) if names), default=0)
        figure = Figure(figsize=(WIDTH * len(parts), max(3.4, 1.3 + 0.32 * most)), layout="constrained")
        for axes, part, names in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, named, strict=True):
            (named_panel if names else attack_panel)(axes, part)
        return figure


def attack_panel(axes: Axes, part: dict[str, Any]) -> None:
    """One panel of `attacks`."""
    models, kinds = (list(dict.fromkeys(row[key] for row in part["rows"])) for key in ("model", "series"))
    for (place, model), (number, kind) in itertools.product(enumerate(models), enumerate(kinds)):
        rows = [row for row in part["rows"] if (row["model"], row["series"]) == (model, kind)]
        places, colour = [row["at"] for row in rows], MODELS[model]
        low, high = ([100 * row["ci95"][side] for row in rows] for side in (0, 1))
        axes.fill_between(places, low, high, color=colour, alpha=0.06 if number else 0.15, linewidth=0)
        style = {"color": colour, "markersize": 5, "linewidth": 1.5 if place else 4}  # the second may lie on the first
        axes.plot(places, [100 * row["value"] for row in rows], LINES[number % len(LINES)], **style)
    handles = [Line2D([], [], color=colour, label=model) for model, colour in MODELS.items() if model in models]
    if len(kinds) > 1:  # a column of models and one of kinds
        handles += [Line2D([], [], linestyle="", label=" ")] * (len(kinds) - len(models))
        handles += [Line2D([], [], color=INK, marker=line[0], linestyle=line[1:], markersize=5, label=escape_dollars(kind))
                    for kind, line in zip(kinds, LINES, strict=False)]  # fmt: skip
    if part["doubling"]:
        axes.set_xscale("symlog", base=2, linthresh=1)
        axes.minorticks_off()
    places = sorted({row["at"] for row in part["rows"]})
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.set_title(part["title"], loc="left", fontsize=12, fontweight="bold")
    axes.set(xlabel=part["x"], ylabel=part["y"], ylim=(-2, 102))
    legend_below(axes, handles)


def legend_below(axes: Axes, handles: list[Line2D]) -> None:
    """A legend below the label of the axis, as far below it in figures of any height."""
    below = -0.85 / axes.get_figure().get_figheight()
    axes.legend(handles=handles, frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, below), fontsize=11)


def names_of(part: dict[str, Any]) -> list[str]:
    """The names of an axis without an order, with what was done there, of a part of `attacks`."""
    return list(dict.fromkeys(", ".join(filter(None, (row["at"], row["series"]))) for row in part["rows"]))


def named_panel(axes: Axes, part: dict[str, Any]) -> None:
    """One panel of `attacks` whose axis has no order: a line of dots with intervals per name."""
    models, names = list(dict.fromkeys(row["model"] for row in part["rows"])), names_of(part)
    for number, model in enumerate(models):
        rows = [row for row in part["rows"] if row["model"] == model]
        values = [100 * row["value"] for row in rows]
        ends = [[abs(100 * row["ci95"][side] - value) for row, value in zip(rows, values, strict=True)] for side in (0, 1)]
        places = [place + 0.36 * ((number + 0.5) / len(models) - 0.5) * 2 for place in range(len(names))]
        axes.errorbar(values, places, xerr=ends, fmt="o", color=MODELS[model], markersize=6, linewidth=2.5, label=model)
    axes.set_yticks(range(len(names)), [escape_dollars(name) for name in names])
    axes.set_title(part["title"], loc="left", fontsize=12, fontweight="bold")
    axes.set(xlabel=part["y"], xlim=(-2, 102), ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.2)
    legend_below(axes, [Line2D([], [], color=MODELS[model], marker="o", label=model) for model in models])


def few_pictures(
    points: dict[str, list[tuple[int, float, float, float, float]]], forget: str, cost: str = "u-FID after ÷ before"
) -> Figure:
    """Forget rate and cost against the number of real pictures.

    Args:
        points: method -> (pictures, forget rate, low and high end of its interval, cost) at each number.
        forget: what was forgotten.
        cost: label of the cost.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for number, (method, rows) in enumerate(points.items()):
            counts, rates, lows, highs, ratios = zip(*rows, strict=True)
            colour = (AFTER, PLASTICITY, STABILITY)[number % 3]
            left.fill_between(
                counts, [100 * low for low in lows], [100 * high for high in highs], color=colour, alpha=0.2, linewidth=0
            )
            left.plot(counts, [100 * rate for rate in rates], "o-", color=colour, label=method)
            right.plot(counts, ratios, "o-", color=colour, label=method)
        left.set_ylabel(escape_dollars(f"forget rate of “{forget}”, %"))
        left.set_ylim(bottom=0)
        right.set_ylabel(cost)
        if "÷" in cost:
            right.axhline(1, color=BEFORE, linewidth=1, linestyle=":")
        else:
            right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.set_xlabel("real pictures of the class")
        if any(points):  # a lone unnamed method needs no legend
            left.legend(frameon=False, fontsize=10)
        return figure
