"""The report of a run, as plain values."""

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from vdu.concepts.base import history
from vdu.data.files import MOST_FILES
from vdu.judges.nudenet import NUDENET
from vdu.models.digest import digest_of, file_digest
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.system import describe_device, package_versions, peak_memory_mib
from vdu.task import PICTURES

Report = dict[str, Any]


def portable(recipe: Recipe) -> dict[str, Any]:
    """A recipe as a report keeps it: of an absolute path it has the last name alone; a model or judge there is "./NAME".

    A report names no folders of this machine: they are private, and the page's folders are temporary.
    """
    values = recipe.to_dict()
    for field, start in (("model", "./"), ("judge", "./"), ("pictures", ""), ("keep", "")):
        if (path := Path(values[field])).is_absolute():
            values[field] = start + path.name
    return values


def contents(recipe: Recipe) -> dict[str, str]:
    """Field of a recipe that names a user's pictures or judge -> hash of the files; what comes from the hub has none here.

    Of a folder that is refused because it holds more than `MOST_FILES`, only as many are read.
    """
    found, judge = {}, "" if recipe.judge in (PICTURES, NUDENET) else recipe.judge
    for field, name in {"pictures": recipe.pictures, "keep": recipe.keep, "judge": judge}.items():
        path = Path(name)
        with suppress(OSError, ValueError):  # a text that can be no path
            if path.name and path.exists():
                files = sorted(it for it in islice(path.rglob("*"), MOST_FILES) if it.is_file()) if path.is_dir() else [path]
                found[field] = digest_of((it.relative_to(path).as_posix(), file_digest(it)) for it in files)
    return found


def report_of(run: Run) -> Report:
    """The report of a finished or stopped run; `after` is None if the unlearned model was not measured."""
    recipe, seconds, rates = run.recipe, run.seconds, run.task.judge.error_rates
    before, after = run.figures.get("before"), run.figures.get("after")
    device, memory = run.machine or (describe_device(run.model.device), peak_memory_mib(run.model.device))
    past, name = history(run.model.folder), run.task.concept.display_name
    chosen, files = portable(recipe), contents(recipe)
    return {
        "model": chosen["model"],
        "model_digest": run.model.digest,
        "forget": name,
        "forgotten": [*(other for other in past["forgotten"] if other != name), *([name] if run.after and run.scale else [])],
        "method": recipe.method,
        "recipe": chosen,
        **({"files": files} if files else {}),
        "earlier": past["recipes"],
        "seed": recipe.seed,
        "samples": recipe.samples,
        "before": before,
        "after": after,
        **({"judge": rates.to_dict()} if rates else {}),
        **({"notes": run.task.notes} if run.task.notes else {}),
        "images_seen": run.images_seen,
        "pul": after["pul"] if after else None,
        "u_fid": after["retain_fid"] if after else None,
        "steps_taken": len(run.steps),
        "scale": run.scale,
        "stopped_because": run.reason,
        "previews": [{"step": seen.step, "forget_rate": seen.forget_rate, "damage": seen.damage} for seen in run.previews],
        "seconds": {phase: round(value, 2) for phase, value in (seconds | {"total": sum(seconds.values())}).items()},
        "peak_memory_mib": round(memory),
        "device": device,
        "versions": package_versions(),
    }
