"""SalUn: the half of the weights that matters least for the forget images stays, and the target is another class."""

import torch
from conftest import QUICK

from vdu.batches import BatchStream
from vdu.losses import noised_set, per_image_error
from vdu.methods.salun import BATCHES, SALIENT, another_class, saliency_mask
from vdu.recipe import Recipe
from vdu.replay import draw_replay
from vdu.run import Run
from vdu.sampling import run_to_end
from vdu.task import open_model

SALUN = QUICK | {"method": "salun", "max_damage": 1.0, "target": 0.0}


def test_the_mask_lets_the_share_with_the_largest_gradients_change():
    run = Run(Recipe.from_dict(SALUN))
    frozen = run.model.clone()
    replay = run_to_end(draw_replay(run.recipe, run.task.concept, run.task.judge, frozen))
    stream = iter(BatchStream(run.task, replay, run.model, frozen, None))
    progress = []
    mask = run_to_end(saliency_mask(stream), progress.append)
    assert [event.done for event in progress] == [*range(1, BATCHES + 1)]
    assert mask.keys() == run.model.trained.keys()
    flat = torch.cat([value.flatten() for value in mask.values()])
    assert set(flat.tolist()) == {0.0, 1.0}
    assert abs(flat.mean().item() - SALIENT) < 0.01

    batch = next(stream)  # the loss, worked out again from its parts
    terms = another_class(batch, mask)
    forget, retain = batch.forget, batch.replay
    with torch.no_grad():
        _, target = noised_set(forget.states, frozen.alpha_bar[forget.t], batch.kept_set)
        relabelled = per_image_error(frozen.predict_noise(forget.states, forget.t, forget.caption), target).mean()
        kept = per_image_error(frozen.predict_noise(retain.states, retain.t, retain.condition), retain.noise).mean()
    torch.testing.assert_close(terms.loss.detach(), (relabelled + kept) / 2, rtol=0.02, atol=1e-4)  # gamma 0.5


def test_weights_that_do_not_matter_stay_bit_for_bit_and_the_report_can_say_what_was_seen(finished_run):
    run, _ = finished_run(method="salun", max_damage=1.0, target=0.0)
    start = dict(open_model("mnist-ddpm", "cpu")[0].unet.named_parameters())
    moved = torch.cat([(value != start[name]).flatten() for name, value in run.model.unet.named_parameters()])
    assert 0 < moved.double().mean() <= SALIENT + 0.01
    assert run.images_seen["forget_real"] == 500
    assert run.images_seen["retain_drawn"] == int(run.replay.kept.sum())
    assert run.images_seen["forget_drawn"] == 0
