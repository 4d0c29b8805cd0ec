"""The figures: what the models before and after draw."""

from typing import Any

import gradio as gr

from vdu import charts
from vdu.metrics import Figures, Metric, table_metrics
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView
from vdu.report import Report, images_seen_words


class Results(Panel):
    """Class shares as bars, and the table of figures."""

    order = 30
    half = True

    def build(self, page: Page) -> None:
        """See `Panel.build`."""
        gr.HTML(render("heading", title="What it draws", small=""))
        self.shares = gr.HTML(shares_html(page.first_view.report), elem_id="shares")
        self.table = gr.HTML(table_html(page.first_view.report), elem_id="table")
        self.outputs = [self.shares, self.table]

    def render(self, view: RunView) -> dict[Any, Any]:
        """See `Panel.render`."""
        return {self.shares: shares_html(view.report), self.table: table_html(view.report) if view.finished else ""}


def shares_html(report: Report | None) -> str:
    """The bar chart of class shares; a placeholder before the first measurement."""
    if not report or not report["before"]:
        return render("placeholder", words="The figures appear once the samples are drawn.")
    return charts.class_shares(report["before"], report["after"], report["forget"])


def table_html(report: Report) -> str:
    """The table of figures before and after with 95 % intervals, and notes; "" if nothing was measured."""
    before, after = report["before"], report["after"]
    if not before:
        return ""
    rows = [
        {"label": metric.label, "meaning": metric.meaning, "cells": [cell(side, metric) for side in (before, after)]}
        for metric in table_metrics()
        if any(metric.key in (side or {}) for side in (before, after))
    ]
    return render("table", rows=rows, notes=notes(report))


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
        lines.append(f"Real images against real images at this n: u-FID {before['retain_fid_floor']:.3f}.")
    if after and "least_retained_class" in after:
        lines.append(f"The class that lost most of its share: {after['least_retained_class']}.")
    if report.get("images_seen"):
        lines.append(images_seen_words(report["images_seen"]))
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report["seconds"].items())
    lines.append(f"Time: {seconds}. Peak memory {report['peak_memory_mib']:,} MiB on {report['device']}.")
    return lines


PANEL = Results
