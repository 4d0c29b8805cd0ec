"""The figures: what was measured of the models before and after, in a table that says what each row means."""

from typing import Any

import gradio as gr

from vdu.metrics import Figures, Metric, table_metrics
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView
from vdu.report import Report
from vdu.summary import images_seen_words


class FigureTable(Panel):
    """The table of figures; nothing until a run has ended."""

    order = 42

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        self.table = gr.HTML(table_html(page.first_view.report), elem_id="table")
        self.outputs = [self.table]

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.table: table_html(view.report) if view.finished else ""}


def table_html(report: Report) -> str:
    """The table of figures before and after with 95 % intervals, and notes; "" if nothing was measured."""
    before, after = report["before"], report["after"]
    if not before:
        return ""
    rows = [
        {
            "label": metric.label,
            "better": metric.better,
            "meaning": metric.meaning,
            "cells": [cell(side, metric) for side in (before, after)],
        }
        for metric in table_metrics()
        if any(metric.key in (side or {}) for side in (before, after))
    ]
    unknown = [row["label"] for row in rows if not any(row["cells"])]
    lines = [f"Too little evidence for: {'; '.join(unknown)}."] if unknown else []
    return render("table", rows=[row for row in rows if any(row["cells"])], notes=lines + notes(report))


def cell(figures: Figures | None, metric: Metric) -> dict[str, str] | None:
    """A figure and its interval ("" for none) as texts; None if it was not measured."""
    value = (figures or {}).get(metric.key)
    if value is None:
        return None
    ends = [metric.format.format(end) for end in figures.get(f"{metric.key}_ci95") or ()]
    return {"value": metric.format.format(value), "interval": " – ".join(ends)}


def notes(report: Report) -> list[str]:
    """Sentences about how the figures were measured, and about the retained classes."""
    before, after = report["before"], report["after"]
    lines = [f"n = {report['samples']:,} samples before and after, from the same seeds."]
    if before["retain_fid_floor"] is not None:
        lines.append(f"u-FID of as many real images: {before['retain_fid_floor']:.3f}; no model does better on average.")
    if after and "least_retained_class" in after:
        lines.append(f"The class that lost most of its share: {after['least_retained_class']}.")
    if report.get("images_seen"):
        lines.append(images_seen_words(report["images_seen"]))
    lines += [f"{note}." for note in report.get("notes", ())]
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report["seconds"].items())
    memory = f"{report['peak_memory_mib']:,} MiB"
    lines.append(f"Time: {seconds}, on {report['device']}. Peak memory of the program so far: {memory}.")
    return lines


PANEL = FigureTable
