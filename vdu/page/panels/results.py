"""The figures: what the model draws, before and after."""

from typing import Any

import gradio as gr

from vdu import charts
from vdu.page.markup import render
from vdu.page.panel import Page, Panel
from vdu.page.view import RunView
from vdu.report import Report

FIGURES = (  # key, label, format, meaning
    ("forget_rate", "Forget rate", "{:.1%}", "share of samples in which the judge sees what is to be forgotten; 1 − UA"),
    (
        "forget_rate_corrected",
        "Corrected",
        "{:.1%}",
        "forget rate, corrected for the errors of a judge fitted on pictures",
    ),
    ("paraphrase_rate", "In other words", "{:.1%}", "forget rate of prompts in words that no forget image came with"),
    ("instead_rate", "Left open", "{:.1%}", "share of samples that show it where the prompt does not say whether they should"),
    ("unprompted_rate", "No prompt", "{:.1%}", "the same without any prompt, which is what guidance starts from"),
    ("ira", "Other prompts (IRA)", "{:.1%}", "share of the other prompts' samples that are right on the same axis"),
    ("cra", "Other axis (CRA)", "{:.1%}", "share of samples that are right on the other axis"),
    ("retain_fid", "u-FID", "{:.3f}", "Fréchet distance of the other samples to real test images; lower is better"),
    ("confident", "Clear", "{:.1%}", "share of samples that some class gets with probability above 0.8"),
)


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
    """The bar chart of class shares."""
    if not report or not report["before"]:
        return render("placeholder", words="measured once the samples are drawn")
    return charts.class_shares(report["before"], report["after"], report["forget"])


def table_html(report: Report) -> str:
    """The figures before and after, with 95 % intervals, and what else was measured; "" if nothing was."""
    before, after = report["before"], report["after"]
    if not before:
        return ""
    rows = [
        {"label": label, "meaning": meaning, "cells": [cell(side, key, form) for side in (before, after)]}
        for key, label, form, meaning in FIGURES
        if key in before
    ]
    return render("table", rows=rows, notes=notes(report))


def cell(figures: dict[str, Any] | None, key: str, form: str) -> dict[str, str] | None:
    """A figure with the ends of its interval, as texts; None where it was not measured."""
    if figures is None or figures[key] is None:
        return None
    low, high = figures[f"{key}_ci95"]
    return {name: form.format(value) for name, value in (("value", figures[key]), ("low", low), ("high", high))}


def notes(report: Report) -> list[str]:
    """Sentences on how it was measured, and on what was kept."""
    before, after = report["before"], report["after"]
    lines = [f"n = {report['samples']:,} samples per side, same seeds."]
    if before["retain_fid_floor"] is not None:
        lines.append(f"Real images against real images at this n: u-FID {before['retain_fid_floor']:.3f}.")
    if after and report["pul"] is not None:
        lines.append(f"PUL {report['pul']:.1f} %.")
    if after and "retained_drift" in after:
        lines.append(
            f"Kept seeds: {after['retained_same_class']:.0%} still draw the same class; they moved "
            f"{after['retained_drift']:.2f} of the way to an unrelated image. Balance of the kept classes: total "
            f"variation {after['retained_share_tv']:.3f}, least kept {after['least_retained_class']} at "
            f"{after['least_retained_ratio']:.2f} of its share."
        )
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in report["seconds"].items())
    lines.append(f"Time: {seconds}. Peak memory {report['peak_memory_mib']:,} MiB on {report['device']}.")
    return lines


PANEL = Results
