"""A report in words: its figures in a few sentences; needs nothing but the report."""

from typing import Any

GUIDED = "guidance"  # `optimizers.GUIDANCE`, whose module imports torch


def headline(report: dict[str, Any]) -> str:
    """The run summed up in a few sentences."""
    forget, before, after, judge = report["forget"], report["before"], report["after"], report.get("judge")
    if before is None:
        return "Stopped before anything was measured."
    takes_prompts = "ira" in before
    subject = f"Asked for “{forget}”, the model drew it" if takes_prompts else f"The model drew {with_article(forget)}"
    if judge:  # the user's own name for it, which may not fit an article
        subject = f"The model drew “{forget}”"
    drew = f"{subject} in {percent(before['forget_rate'])} % of samples"
    if after is None:
        last = report["previews"][-1]
        return f"{drew}. Stopped at step {report['steps_taken']}: the previews estimate {percent(last['forget_rate'])} % now."
    low, high = after["forget_rate_ci95"]
    text = f"{drew}; now in {percent(after['forget_rate'])} % [{percent(low)}–{percent(high)}]."
    if takes_prompts:
        text += f" Other prompts still right: {percent(before['ira'])} → {percent(after['ira'])} %."
    elif after["retain_fid"] is not None and before["retain_fid"] is not None:
        text += f" The other classes: u-FID {before['retain_fid']:.2f} → {after['retain_fid']:.2f}."
    for name, rates in after.get("forgotten_before", {}).items():
        low, high = rates["forget_rate_ci95"]
        text += f" Forgotten before: {name}, now in {percent(rates['forget_rate'])} % [{percent(low)}–{percent(high)}]."
    if judge:
        text += f" {fitted_words(judge)}"
    if report["recipe"]["optimizer"] == GUIDED:
        text += " The weights are as they were: only guided samples forget."
    return f"{text} Unlearning took {method_seconds(report):.0f} s."


def method_seconds(report: dict[str, Any]) -> float:
    """The seconds of a method: of its steps with the search for the scale, and of the estimate of its posterior if it has one.

    An estimate that was on disk took none.
    """
    return report["seconds"]["unlearn"] + report["seconds"].get("posterior", 0.0)


def fitted_words(judge: dict[str, Any]) -> str:
    """How reliable a fitted judge is, in a sentence."""
    known, taken = percent(judge["sensitivity"]), percent(1 - judge["specificity"])
    others = (
        f"{judge['kept']} pictures to keep" if judge["kept"] else f"{judge['drawn']} images the model drew (some may show it)"
    )
    return (
        f"The judge was fitted on {judge['pictures']} pictures: in cross-validation it recognised "
        f"{known} % of them, with false alarms on {taken} % of {others}."
    )


def steps_words(count: int) -> str:
    """A number of steps, in words: "1 step", "40 steps"."""
    return f"{count} step" if count == 1 else f"{count} steps"


def pictures_words(count: int) -> str:
    """A number of pictures, in words: "1 picture", "8 pictures"."""
    return f"{count} picture" if count == 1 else f"{count} pictures"


IMAGES = {  # key of `images_seen` -> its name in a sentence
    "forget_real": "real forget images",
    "forget_drawn": "forget images drawn by the model itself",
    "neutral_drawn": "images it drew for prompts without the words to forget",
    "retain_drawn": "images it drew of everything else",
}


def images_seen_words(images_seen: dict[str, int]) -> str:
    """How many images of each kind a method saw, in a sentence."""
    return f"The method saw {', '.join(images_seen_parts(images_seen)) or 'no images'}."


def images_seen_parts(images_seen: dict[str, int]) -> list[str]:
    """How many images of each kind a method saw, in words; kinds of which it saw none are left out."""
    return [f"{count:,} {IMAGES[kind]}" for kind, count in images_seen.items() if count]


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *lines))


def with_article(name: str) -> str:
    """A class with its article: "a 3", "an 8"."""
    return f"{'an' if name[0].lower() in 'aeio8' else 'a'} {name}"


def percent(rate: float) -> str:
    """A rate as a percentage with one decimal."""
    return f"{100 * rate:.1f}"
