"""`vdu models`: the catalog, with what was measured on each model; it answers without torch."""

import json

import click

from vdu.catalog import CATALOG, ENTRIES, LISTED, TRAIN_FIRST, Entry
from vdu.command import Command
from vdu.summary import headline

# What figures.json of a model may say -> in words.
FIGURES = {
    "classifier_accuracy": "the judge is right on {:.1%} of real test images",
    "judge_garment": "the judge is right on {:.1%} of real garments",
    "judge_colour": "on {:.1%} of colours",
    "confident": "{:.1%} of samples are clearly of a class",
    "classifier_real_over_half": "it is more than half sure of a class in {:.1%} of these",
    "over_half": "and in {:.1%} of samples",
    "right": "the judge sees the class of the prompt in {:.1%} of samples",
    "garment": "garments come out right in {:.1%} of samples",
    "colour": "colours in {:.1%}",
    "fid": "Fréchet distance {:.2f}",
    "fid_floor": "real images {:.2f}",
}


def measured(entry: Entry) -> str:
    """What is known of a model, or of its judge alone, and of the example that ships with it, in words."""
    path = entry.folder / "figures.json"
    if not path.is_file():
        return "nothing."
    figures = json.loads(path.read_text())
    words = "; ".join(form.format(figures[name]) for name, form in FIGURES.items() if name in figures)
    example = entry.folder / "example" / "report.json"
    return f"{words}. Example: {headline(json.loads(example.read_text()))}" if example.is_file() else f"{words}."


@click.command("models", cls=Command)
@click.option("--json", "for_tools", is_flag=True, help="Print JSON, for other programs.")
def run_models(for_tools: bool) -> None:
    """List the models, and what was measured on them."""
    rows = [
        {
            "name": entry.name,
            "title": entry.title,
            "classes": list(entry.classes),
            "shape": list(entry.shape),
            "licence": entry.licence,
            "measured": measured(entry),
        }
        for entry in CATALOG.values()
    ]
    if for_tools:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']}: {row['title']}\n  forgets: {', '.join(row['classes'])}\n  measured: {row['measured']}"
              f"\n  licence: {row['licence']}\n")  # fmt: skip
    for entry in ENTRIES:
        if command := TRAIN_FIRST.get(entry.name):
            print(f"{entry.name}: does not ship with its weights; train it first, on a GPU: {command}")
            print(f"  measured: {measured(entry)}\n")
    for name, title in LISTED.items():
        print(f"{name}: {title}, from the hub\n  measured: nothing on these weights\n")
