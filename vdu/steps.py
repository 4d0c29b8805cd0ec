"""The ways to change a model: many optimizer steps, one solution of the linearised loss, a closed form, or guidance alone."""

import math
from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from vdu.batches import NO_IMAGES, BatchStream
from vdu.errors import BrokenImages
from vdu.events import Clock, Event, StepTaken
from vdu.losses import function_space_stability, plasticity_inducer
from vdu.methods import METHODS, Batch, Prompts
from vdu.methods.base import Terms
from vdu.models import Model
from vdu.models.guidance import Guidance
from vdu.optimizers import make_optimizer
from vdu.run import BROKEN, DAMAGED, SPENT, Run
from vdu.samples import Samples
from vdu.threads import map_side_by_side, worker_count

WARM_UP, SETTLING = 5, 0.35  # steps over which the step size rises; share of all steps over which it falls
PATIENCE = 2  # previews in a row that must meet the target
AVERAGING = 0.97  # decay of the running average of the weights, which spans about thirty steps
RECOVERABLE = 2  # factor on the damage allowed: previews may show this much, since a smaller scale undoes it


class Learning:
    """A method at work on a stream of batches: its prepared state, its loss and its mask.

    Args:
        run: the run; learner: the model being changed; frozen: the model as it was.
    """

    def __init__(self, run: Run, learner: Model, frozen: Model) -> None:
        self.method, self.state = METHODS[run.recipe.method], None
        self.kind = frozen.kind(frozen.unet.config)
        stream = BatchStream(run.task, run.replay, learner, frozen, run.posterior)
        self.batches = map(self.method.declared_part, stream)
        run.images_seen = stream.count_images(self.method)

    def prepare(self) -> Generator[Event, None, None]:
        """Run the method's `prepare`, if it has one, and keep its state."""
        if self.method.prepare and self.kind in self.method.prepared:
            self.state = yield from self.method.prepare(self.batches)

    def next_gradients(self) -> Terms:
        """Compute the method's terms on the next batch, and give the parameters the gradients of their loss."""
        batch: Batch = next(self.batches)
        if self.method.choose_states:
            with torch.no_grad():
                batch.forget = self.method.choose_states(batch)
        size = len(batch.forget.t)
        halved = self.method.row_by_row and size % 2 == 0 and batch.model.device == "cpu"
        parameters = [*batch.parameters.values()]

        def differentiate(part: Batch) -> tuple[Terms, tuple[Tensor | None, ...]]:
            terms = self.method.loss(part, self.state)
            gradients = torch.autograd.grad(terms.loss, parameters, allow_unused=True)
            return Terms(*(term.detach() for term in terms)), gradients

        parts = batch.halves() if halved else [batch]
        done = map_side_by_side(differentiate, parts, worker_count(batch.model.device))
        for parameter, *gradients in zip(parameters, *(gradients for _, gradients in done), strict=True):
            known = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = sum(known[1:], start=known[0]) / len(done) if known else None
        return Terms(*(torch.stack(values).mean() for values in zip(*(terms for terms, _ in done), strict=True)))

    def mask(self, named: Mapping[str, Tensor]) -> None:
        """Multiply the gradients by the method's mask, if it has one."""
        if self.method.mask:
            factors = self.method.mask(self.state)
            for name, parameter in named.items():
                if parameter.grad is not None:
                    parameter.grad.mul_(factors[name])


def take_steps(run: Run, frozen: Model) -> Generator[Event, None, str]:
    """Take steps until a stop rule applies or all are taken; returns the reason.

    Once the previews have met the target, or few steps are left, the run settles: the step size falls to zero, and stability
    repairs what it can. `run.model` is a running average of the weights that the optimizer moves, because single steps are
    noisy and the noise damages the kept classes first.
    """
    recipe, learner = run.recipe, run.model.clone()
    learning, named = Learning(run, learner, frozen), learner.trained
    yield from learning.prepare()
    optimizer = make_optimizer(recipe.optimizer, named, run.posterior, recipe.step_size)
    average = list(run.model.trained.values())
    settling = max(1, round(SETTLING * recipe.steps))
    clock, met, last, step = Clock("unlearn", recipe.steps), 0, recipe.steps, 0
    while step < last:
        step += 1
        optimizer.param_groups[0]["lr"] = recipe.step_size * min(1.0, step / WARM_UP, (last - step + 1) / settling)
        terms = learning.next_gradients()
        learning.mask(named)
        optimizer.step()
        taken = StepTaken(step, *(term.item() for term in terms))
        run.steps.append(taken)
        if not math.isfinite(taken.loss) or not all_finite(named):
            return BROKEN  # before the broken weights reach the average, which is the result
        with torch.no_grad():
            torch._foreach_lerp_(average, list(named.values()), 1 - AVERAGING)
        yield taken
        yield clock.progress(step)
        if step % recipe.preview_every or step == last:
            continue
        try:
            drawn = yield from draw_grid(run)
        except BrokenImages:
            return DAMAGED
        preview = run.keep_preview(drawn, step)
        yield preview
        met = met + 1 if run.replay.forget_rate_to_steer_by(run.replay.grid, drawn) <= run.target else 0
        if met == PATIENCE:
            last = clock.total = min(last, step + settling)
        if preview.damage > RECOVERABLE * recipe.max_damage:
            return DAMAGED
    return SPENT


def one_step(run: Run, frozen: Model) -> Generator[Event, None, str]:
    """Minimise the loss linearised at mu*, with one averaged gradient; returns the reason.

    With the plasticity inducer's gradient g at mu*, setting the linearised loss's gradient to zero gives
    theta = mu* + P (1 - gamma) / gamma * sigma*^2 * g, with P parameters because the regularizer is a mean over them. For any
    method this is mu* - P / gamma * sigma*^2 * (gradient of its loss at mu*): one step of natural gradient.
    """
    recipe, still = run.recipe, run.model.clone()
    learning, clock = Learning(run, still, frozen), Clock("unlearn", recipe.steps)
    yield from learning.prepare()
    named = still.trained
    total = [torch.zeros_like(parameter) for parameter in named.values()]
    for step in range(1, recipe.steps + 1):
        terms = learning.next_gradients()
        learning.mask(named)
        torch._foreach_add_(total, [torch.zeros_like(p) if p.grad is None else p.grad for p in named.values()])
        taken = StepTaken(step, *(term.item() for term in terms))
        run.steps.append(taken)
        if not math.isfinite(taken.loss):
            return BROKEN
        yield taken
        yield clock.progress(step)
    direction = run.posterior.times_covariance(dict(zip(named, total, strict=True)))
    if not all_finite(direction):
        return BROKEN
    count = sum(parameter.numel() for parameter in named.values())
    with torch.no_grad():
        for name, weight in run.model.trained.items():
            weight -= count / recipe.gamma / recipe.steps * direction[name]
    try:
        yield run.keep_preview((yield from draw_grid(run)), recipe.steps)
    except BrokenImages:
        return DAMAGED
    return SPENT


def solve_at_once(run: Run, frozen: Model) -> Generator[Event, None, str]:
    """Set the weights to the method's closed form, which counts as one step; returns the reason."""
    recipe, concept, clock = run.recipe, run.task.concept, Clock("unlearn", 1)
    run.images_seen = dict(NO_IMAGES)
    prompts = Prompts(frozen, concept.rewritings, concept.prompts_to_keep, recipe.gamma, recipe.reach)
    with torch.no_grad():
        terms, weights = METHODS[recipe.method].solve(prompts)
    taken = StepTaken(1, *(term.item() for term in terms))
    run.steps.append(taken)
    if not math.isfinite(taken.loss) or not all_finite(weights):
        return BROKEN
    with torch.no_grad():
        for name, value in weights.items():
            run.model.trained[name].copy_(value)
    yield taken
    yield clock.progress(1)
    return (yield from show_solution(run))


def guide_samples(run: Run, frozen: Model) -> Generator[Event, None, str]:
    """Leave the weights as they are and guide the samples instead, which counts as one step; returns the reason.

    The two terms are those of VDU-F, of the guided prediction on one batch.
    """
    learning, clock = Learning(run, run.model, frozen), Clock("unlearn", 1)
    yield from learning.prepare()
    batch: Batch = next(learning.batches)
    run.model.guide = guidance = Guidance(learning.method.guide(batch, learning.state))
    with torch.no_grad():
        on_forget, on_kept = (
            (frozen.predict_noise(noisy.states, noisy.t, noisy.condition), guidance(noisy.states, noisy.t))
            for noisy in (batch.forget, batch.replay)
        )
    plasticity = plasticity_inducer(sum(on_forget), batch.forget.noise, batch.weight).item()
    stability = function_space_stability(sum(on_kept), on_kept[0]).item()
    taken = StepTaken(1, plasticity, stability, (batch.gamma - 1) * plasticity + batch.gamma * stability)
    run.steps.append(taken)
    yield taken
    yield clock.progress(1)
    return (yield from show_solution(run))


def show_solution(run: Run) -> Generator[Event, None, str]:
    """The preview of a model that was changed at once; returns the reason."""
    try:
        yield run.keep_preview((yield from draw_grid(run)), 1)
    except BrokenImages:
        return DAMAGED
    return SPENT


def all_finite(named: Mapping[str, Tensor]) -> bool:
    """Whether all values of some tensors are finite, and not so large that their squares are not."""
    return bool(torch.stack(torch._foreach_norm([value.detach() for value in named.values()])).isfinite().all())


def draw_grid(run: Run) -> Generator[Event, None, Samples]:
    """Samples of the current model from the grid's seeds."""
    return (yield from run.replay.draw_again("preview", run.model, run.replay.grid))
