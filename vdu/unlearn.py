"""`unlearn(run)` is a generator of events that fills a run; the run can be reported at any time.

    run = Run(Recipe(forget="3"))
    for event in unlearn(run):
        ...

The seeds of previews and steering are disjoint from the seeds of measurement, so the figures come from images that the run
has never used.
"""

from collections.abc import Generator

from vdu.events import Event, Finished, Measured
from vdu.replay import draw_replay
from vdu.run import Run
from vdu.samples import draw, draw_pristine
from vdu.sampling import image_seeds
from vdu.scale import rescale
from vdu.steps import guide_samples, one_step, solve_at_once, take_steps

# optimizers that do not use `take_steps`
UPDATES = {"one-step": one_step, "closed-form": solve_at_once, "guidance": guide_samples}


def unlearn(run: Run) -> Generator[Event, None, None]:
    """Carry out a run: replay, measure, unlearn with previews, measure again.

    It may be closed at any yield, and yields at least once per second on two cores. The run is then consistent and its reason
    is "stopped by the user".
    """
    task, recipe = run.task, run.recipe
    frozen, seeds, how = run.model.clone(), image_seeds(recipe.seed, recipe.samples), recipe.how
    specs = task.concept.plan(recipe.samples, task.concept.prompt_kinds)
    with run.timed("replay"):
        yield from task.judge.fit(frozen, how)
        if recipe.forget_source == "real":
            yield from task.read_pictures()  # unusable pictures are refused before anything is drawn
        run.replay = yield from draw_replay(recipe, task.concept, task.judge, frozen)
        run.previews.append(run.replay.preview(run.replay.samples.at(run.replay.grid), step=0))
    yield run.previews[-1]
    with run.timed("sample"):
        run.before = yield from draw_pristine("before", frozen, task.judge, seeds, how, specs)
    yield measure(run, "before")
    if run.estimation:
        with run.timed("posterior"):
            run.posterior = (yield from run.estimation).to(run.model.device)
    with run.timed("unlearn"):
        reason = yield from UPDATES.get(recipe.optimizer, take_steps)(run, frozen)
        reason = yield from rescale(run, frozen, reason)
        run.model.round_to_files()
    with run.timed("sample"):
        run.after = yield from draw("after", run.model, task.judge, seeds, how, specs)
    yield measure(run, "after")
    run.reason = reason
    yield Finished(reason)


def measure(run: Run, side: str) -> Measured:
    """Compute the figures of one side, "before" or "after", and keep them in the run."""
    with run.timed("evaluate"):
        before = run.before if side == "after" else None
        run.figures[side] = run.task.measure(getattr(run, side), before)
    return Measured(side, run.figures[side])
