"""Several methods on the same recipe and seeds: `python -m vdu compare --model M --forget W --methods a,b,c --out DIR`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vdu.bench.tables import load_charts, save
from vdu.comparison import costs, results_csv, results_markdown
from vdu.errors import UserError
from vdu.events import Event
from vdu.methods import METHODS
from vdu.models import pick_device
from vdu.recipe import OPEN, Recipe, resolve
from vdu.report import Report, report_of
from vdu.run import Run
from vdu.summary import headline
from vdu.task import kind_of, open_model
from vdu.unlearn import unlearn
from vdu.writing import check_writable, writing

RESULTS, UNFINISHED = "results.jsonl", "results.jsonl.part"
FILES = (RESULTS, "results.csv", "results.md", "pareto.png")


def compare(
    recipe: Recipe, methods: list[str], folder: Path, show: Callable[[Event], None], say: Callable[[str], None]
) -> Path:
    """Run a recipe with each method in turn and write the results; an interrupted comparison is resumed.

    Fields that the recipe leaves open take each method's own defaults; model, seeds and samples are the same for all.

    Args:
        recipe: the recipe; its method is ignored.
        methods: names in `METHODS`.
        folder: where to write results.jsonl (one report per line), results.csv, results.md and pareto.png.
        show: called with the events of every run.
        say: called with a line per finished run.

    Returns:
        the path of results.md.

    Raises:
        UserError: before anything is computed, for a method that is unknown or does not fit the model, for a recipe that
            cannot be run, or for a folder that holds other files or a comparison of another recipe.
    """
    load_charts()  # fails now, not after hours, if matplotlib is missing
    if not methods:
        raise UserError(f"Name the methods to compare: some of {', '.join(METHODS)}, separated by commas.")
    for method in methods:
        if method not in METHODS:
            raise UserError(f"There is no method '{method}'; choose some of {', '.join(METHODS)}.")
    kind = kind_of(recipe.model)
    recipes = [resolve(with_method(recipe, method), kind) for method in dict.fromkeys(methods)]
    digest = open_model(recipe.model, pick_device(recipe.device))[0].digest
    reports = read_reports(folder, recipe, kind, digest)
    for chosen in recipes:
        if not any(is_of(report, chosen, digest) for report in reports):
            Run(chosen)  # fails before the first run begins if any run is impossible
    check_writable(folder / RESULTS)
    for chosen in recipes:
        if any(is_of(report, chosen, digest) for report in reports):
            continue
        run = Run(chosen)
        for event in unlearn(run):
            show(event)
        reports.append(report_of(run))
        with written(folder, UNFINISHED):  # the file has whole lines only, even if the command is killed
            (folder / UNFINISHED).write_text("".join(json.dumps(report) + "\n" for report in reports))
            (folder / UNFINISHED).replace(folder / RESULTS)
        say(f"{chosen.method}: {headline(reports[-1])}")
    asked = [next(report for report in reports if is_of(report, chosen, digest)) for chosen in recipes]
    with written(folder, *(name for name in FILES if name != RESULTS)):
        return write_tables(asked + [report for report in reports if report not in asked], folder)


@contextmanager
def written(folder: Path, *names: str) -> Iterator[None]:
    """Write some files in a folder, which is made; if one cannot be written, none is left.

    Raises:
        UserError: if one cannot be written.
    """
    with writing(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError:
            for name in names:
                (folder / name).unlink(missing_ok=True)
            raise


def with_method(recipe: Recipe, method: str) -> Recipe:
    """A recipe with another method; open fields stay open."""
    return Recipe.from_dict(
        {name: value for name, value in recipe.to_dict().items() if value is not OPEN} | {"method": method}
    )


def is_of(report: Report, recipe: Recipe, digest: str) -> bool:
    """Whether a report belongs to a recipe and to a model. A report gives only the last name of a folder's path."""
    mine = recipe.to_dict()
    paths = {name: Path(mine[name]).name for name in ("pictures", "keep") if Path(mine[name]).is_absolute()}
    return report["recipe"] == mine | paths and report["model_digest"] == digest


def read_reports(folder: Path, recipe: Recipe, kind: str, digest: str) -> list[Report]:
    """The reports of an earlier comparison in a folder, of any methods; none in a new folder.

    Args:
        folder: the folder of the comparison.
        recipe: the recipe that all reports must belong to, apart from the method.
        kind: the kind of the recipe's model; digest: the model's digest.

    Raises:
        UserError: if the folder holds other files or a comparison of another recipe.
    """
    if not folder.exists():
        return []
    refusal = UserError(f"'{folder}' already holds something else; choose another --out.")
    if not folder.is_dir() or any(path.name not in (*FILES, UNFINISHED) for path in folder.iterdir()):
        raise refusal
    if not (folder / RESULTS).exists():
        if any(path.name != UNFINISHED for path in folder.iterdir()):
            raise refusal
        return []
    try:
        reports = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
        same = [is_of(report, resolve(with_method(recipe, report["method"]), kind), digest) for report in reports]
    except (ValueError, TypeError, KeyError, UserError) as error:
        raise refusal from error
    if not all(same):
        raise UserError(f"'{folder}' holds a comparison of another recipe or of other weights; choose another --out.")
    return reports


def write_tables(reports: list[Report], folder: Path) -> Path:
    """Write results.csv, results.md and pareto.png; returns the path of results.md."""
    with (folder / "results.csv").open("w", newline="") as file:
        file.write(results_csv(reports))
    path = folder / "results.md"
    path.write_text(results_markdown(reports))
    points = costs({report["method"]: [report] for report in reports})
    save(load_charts().pareto({"": points}), folder / "pareto.png")
    return path
