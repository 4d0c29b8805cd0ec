"""Attack the run in a folder, and write what was found: attack.json, attack.png, and sheets of pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vdu.attacks import ATTACKS, ORIGINAL, RETRAINED, UNLEARNED, Attack, Attacked, Result, Row, fitting
from vdu.errors import UserError
from vdu.evaluation import open_alike
from vdu.optimizers import GUIDANCE
from vdu.reading import read_json
from vdu.recipe import Recipe
from vdu.report import contents
from vdu.sheet import sheet
from vdu.system import package_versions
from vdu.task import open_task
from vdu.writing import whole

Found = Mapping[str, Result]  # name of an attack -> what it found


def open_folder(folder: Path, gold: str, seed: int, images: int, moved: Mapping[str, str] | None = None) -> Attacked:
    """The models to compare, for the run that `vdu unlearn --out` left in a folder.

    Args:
        folder: with report.json, whose recipe names the original model and the concept, and unlearned/.
        gold: folder or catalog name of a model retrained without the concept; "" for none.
        seed: see `Attacked`; images: see `Attacked`.
        moved: field of the recipe -> where its model or pictures lie now; a report keeps only the names of absolute paths.

    Raises:
        UserError: if the folder holds no such run, its model is gone or another one, or the gold model draws other images.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder '{folder}'; give the --out folder of `vdu unlearn`.")
    try:
        report = read_json(folder / "report.json")
        recipe, digest, files = report["recipe"], report.get("model_digest"), dict(report.get("files", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        recipe, digest, files = None, None, {}
    if isinstance(recipe, dict) and recipe.get("optimizer") == GUIDANCE:
        raise UserError(f"{recipe.get('method')} left the weights in '{folder}' as they were; attack a run of another method.")
    if not isinstance(recipe, dict) or not (folder / "unlearned").is_dir():
        raise UserError(f"'{folder}' does not hold a run (report.json, unlearned/); give the --out folder of `vdu unlearn`.")
    task = open_task(Recipe.from_dict(recipe | {"device": "auto"} | (moved or {})))
    if digest not in (None, task.model.digest):
        raise UserError(f"'{task.recipe.model}' is not the model that '{folder}' was made from; name that model (--model).")
    there = contents(task.recipe)
    for field in files:
        if files[field] != there.get(field):
            what, elsewhere = (
                ("judge", "") if field == "judge" else ("pictures", f", or name the folder that has them (--{field})")
            )
            given = getattr(task.recipe, field)
            raise UserError(f"'{given}' holds other files than the {what} of '{folder}'; put these back{elsewhere}.")
    models = {ORIGINAL: task.model, UNLEARNED: open_alike(str(folder / "unlearned"), task)}
    if gold:
        models[RETRAINED] = open_alike(gold, task)
    return Attacked(task, models, seed, images, folder / "unlearned")


def choose(attacked: Attacked, names: list[str]) -> dict[str, Attack]:
    """The attacks of some names; for no names, all that apply.

    Raises:
        UserError: if one of them does not apply, or none does.
    """
    for name in names:
        if why := ATTACKS[name].misfit(attacked):
            raise UserError(f"The attack {name} cannot be carried out: {why}")
    if not (chosen := {name: ATTACKS[name] for name in names} or fitting(attacked)):
        raise UserError(f"No attack can be carried out: {next(iter(ATTACKS.values())).misfit(attacked)}")
    return chosen


def row_values(attack: Attack, row: Row) -> dict[str, Any]:
    """A figure as plain values for attack.json."""
    place, key = attack.over[0], attack.figure[0]
    series = {"series": row.series} if row.series else {}
    return {"model": row.model, **series, place: row.at, key: row.value, f"{key}_ci95": row.ci95, "images": row.count}


def head_and_lines(attack: Attack, result: Result) -> tuple[list[str], list[list[str]]]:
    """A table of the figures: its head, the places on the axis, and a line per model and thing done to it.

    If the places are names there is a line for each and for each thing done, and a column per model.
    """
    places = list(dict.fromkeys(row.at for row in result.rows))
    if isinstance(places[0], str):
        models = list(dict.fromkeys(row.model for row in result.rows))
        by_place: dict[str, list[str]] = {}
        for row in result.rows:
            by_place.setdefault(", ".join(filter(None, (str(row.at), row.series))), []).append(row.words())
        return [f"{attack.title}: {attack.figure[1]}", *models], [[place, *words] for place, words in by_place.items()]
    cells = {(row.model, row.series, row.at): row.words() for row in result.rows}
    kinds = dict.fromkeys((row.model, row.series) for row in result.rows)
    head = [f"{attack.title}: {attack.figure[1]}", *(f"{attack.over[0]} = {place:g}" for place in places)]
    lines = [[", ".join(filter(None, kind)), *(cells.get((*kind, place), "") for place in places)] for kind in kinds]
    return head, lines


def write_attacks(attacked: Attacked, found: Found, folder: Path) -> Path:
    """Write attack.json, attack.png, and for every model and attack with pictures ATTACK-MODEL.png; returns attack.json.

    A row of a sheet is a place on the attack's axis, from the same seeds; a red frame means that the judge sees the concept.

    Raises:
        UserError: if matplotlib is missing, or the folder cannot be written.
    """
    from vdu import charts

    recipe = attacked.task.recipe
    facts = {
        "model": recipe.model, "forget": attacked.task.concept.display_name, "method": recipe.method, "seed": attacked.seed,
        "images": attacked.images, "sampler_steps": attacked.how.steps, "guidance": attacked.how.guidance,
        "models": {name: model.digest for name, model in attacked.models.items()},
    }  # fmt: skip
    attacks = {
        name: {"title": ATTACKS[name].title, "settings": ATTACKS[name].settings, "sentence": result.sentence,
               "rows": [row_values(ATTACKS[name], row) for row in result.rows], **result.more}
        for name, result in found.items()
    }  # fmt: skip
    lead = {"curves": {}, "half_back": {}} | dict(item for result in found.values() for item in result.lead.items())
    with whole(folder) as partial:
        partial.mkdir()
        charts.attacks([chart_of(ATTACKS[name], result) for name, result in found.items()]).savefig(
            partial / "attack.png", dpi=130, bbox_inches="tight", facecolor="white"
        )
        for name, result in found.items():
            for model in dict.fromkeys(strip.model for strip in result.strips):
                strips = [strip for strip in result.strips if strip.model == model]
                columns = min(len(strip.images) for strip in strips)
                parts = (torch.cat([getattr(strip, part)[:columns] for strip in strips]) for part in ("images", "framed"))
                sheet(*parts, columns).save(partial / f"{name}-{model}.png")
        report = {**facts, **lead, "attacks": attacks, "versions": package_versions()}
        (partial / "attack.json").write_text(json.dumps(report, indent=1) + "\n")
    return folder / "attack.json"


def chart_of(attack: Attack, result: Result) -> dict[str, Any]:
    """What `charts.attacks` draws of an attack."""
    rows = [
        {"model": row.model, "series": row.series, "at": row.at, "value": row.value, "ci95": row.ci95} for row in result.rows
    ]
    return {"title": attack.title, "x": attack.over[1], "y": attack.figure[1], "doubling": attack.rising, "rows": rows}
