"""Several methods on the same recipe and seeds: `python -m vdu compare --model M --forget W --methods a,b,c --out DIR`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vdu.bench.cells import TABLES, Cell, Executor, Show, check, digests, read_lines, read_reports, run_missing, written
from vdu.bench.tables import load_charts, save
from vdu.comparison import costs, results_csv, results_markdown
from vdu.errors import UserError
from vdu.evaluation import evaluate, open_alike
from vdu.methods import METHODS
from vdu.metrics import Figures
from vdu.recipe import Recipe, resolve
from vdu.report import Report
from vdu.sampling import run_to_end
from vdu.summary import headline
from vdu.task import kind_of, open_task


def compare(
    recipe: Recipe,
    methods: list[str],
    folder: Path,
    executor: Executor,
    say: Callable[[str], None],
    gold: str = "",
    show: Show = lambda event: None,
) -> Path:
    """Run a recipe with each method and write the results; an interrupted comparison is resumed.

    Fields that the recipe leaves open take each method's own defaults; model, seeds and samples are the same for all.

    Args:
        recipe: the recipe; its method is ignored.
        methods: names in `METHODS`.
        folder: where to write results.jsonl (one report per line), results.csv, results.md and pareto.png.
        executor: runs them.
        say: called with a line per finished run.
        gold: folder or catalog name of a model that never saw the concept, for the first row of results.md; "" for none.
        show: called with the events of measuring it.

    Returns:
        the path of results.md.

    Raises:
        UserError: before anything is computed, for a method that is unknown or does not fit the model, for a recipe that
            cannot be run, for a gold model that draws other images, or for a folder that holds other files or a comparison of
            another recipe.
    """
    load_charts()  # fails now, not after hours, if matplotlib is missing
    if not methods:
        raise UserError(f"Name the methods to compare: some of {', '.join(METHODS)}, separated by commas.")
    for method in methods:
        if method not in METHODS:
            raise UserError(f"There is no method '{method}'; choose some of {', '.join(METHODS)}.")
    kind = kind_of(recipe.model)
    recipes = [resolve(replace(recipe, method=method), kind) for method in dict.fromkeys(methods)]
    digest = digests(recipes[:1], executor.device)[recipe.model]
    asked = [Cell(chosen, digest, chosen.method) for chosen in recipes]
    earlier = reports_of_same(folder, recipe, kind, digest)
    for cell in asked:
        if not cell.find(earlier):
            check(cell, executor.device)  # fails before the first run begins if any run is impossible
    never = None
    if gold:
        task = open_task(recipes[0], device=executor.device)
        never = run_to_end(evaluate(task, open_alike(gold, task)), show)
    for cell, outcome in run_missing(asked, earlier, folder, executor):
        if isinstance(outcome, UserError):
            raise outcome
        say(f"{cell.name}: {headline(outcome)}")
    reports = read_lines(folder)
    first = [cell.find(reports) for cell in asked]
    with written(folder, *TABLES):
        return write_tables(first + [report for report in reports if report not in first], folder, never)


def reports_of_same(folder: Path, recipe: Recipe, kind: str, digest: str) -> list[Report]:
    """The reports of an earlier comparison in a folder, of any methods; none in a new folder.

    Args:
        folder: the folder of the comparison.
        recipe: the recipe that all reports must belong to, apart from the method.
        kind: the kind of the recipe's model; digest: the model's digest.

    Raises:
        UserError: if the folder holds other files or a comparison of another recipe.
    """
    reports = read_reports(folder)
    for report in reports:
        try:
            same = Cell(resolve(replace(recipe, method=report.get("method")), kind), digest, "").find([report])
        except UserError:
            same = None
        if not same:
            raise UserError(f"'{folder}' holds a comparison of another recipe or of other weights; choose another --out.")
    return reports


def write_tables(reports: list[Report], folder: Path, gold: Figures | None) -> Path:
    """Write results.csv, results.md and pareto.png; returns the path of results.md, which also has a gold model's figures."""
    with (folder / "results.csv").open("w", newline="") as file:
        file.write(results_csv(reports))
    path = folder / "results.md"
    path.write_text(results_markdown(reports, gold))
    points = costs({report["method"]: [report] for report in reports})
    save(load_charts().pareto({"": points}), folder / "pareto.png")
    return path
