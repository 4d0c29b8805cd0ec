"""The report of a run, as plain values."""

from pathlib import Path
from typing import Any

from vdu.concepts.base import history
from vdu.run import Run
from vdu.system import describe_device, package_versions, peak_memory_mib

Report = dict[str, Any]


def report_of(run: Run) -> Report:
    """The report of a finished or stopped run; `after` is None if the unlearned model was not measured."""
    recipe, seconds, rates = run.recipe, run.seconds, run.task.judge.error_rates
    before, after = run.figures.get("before"), run.figures.get("after")
    device, memory = run.machine or (describe_device(run.model.device), peak_memory_mib(run.model.device))
    past, name = history(run.model.folder), run.task.concept.display_name
    # A report names no folders of this machine: they are private, and the page's folders are temporary.
    paths = {field: Path(getattr(recipe, field)) for field in ("pictures", "keep")}
    portable = {field: path.name for field, path in paths.items() if path.is_absolute()}
    return {
        "model": recipe.model,
        "model_digest": run.model.digest,
        "forget": name,
        "forgotten": [*(other for other in past["forgotten"] if other != name), *([name] if run.after and run.scale else [])],
        "method": recipe.method,
        "recipe": recipe.to_dict() | portable,
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
