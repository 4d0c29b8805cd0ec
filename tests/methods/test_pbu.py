"""PBU: ascent on forget images alone, held back by the Fisher information on these."""

import pytest
import torch

from vdu.methods import METHODS
from vdu.methods.pbu import forget_fisher, held_back
from vdu.sampling import run_to_end

PBU = METHODS["pbu"]


def test_the_loss_is_ascent_and_the_distance_from_the_weights_as_they_were(batch):
    terms = held_back(batch, batch.posterior)
    weight = batch.weight.view(-1, 1, 1, 1)
    plasticity = (weight * (0.7 * batch.forget.states - batch.forget.noise).square()).mean().item()
    distance = (0.7 - 0.5) ** 2 / (2 * 0.04)
    assert terms.loss.item() == pytest.approx(0.6 * distance - 0.4 * plasticity, rel=1e-5)


def test_its_information_comes_from_forget_images(batch):
    def batches(states):
        while True:
            batch.forget.states = states
            yield batch

    batch.parameters["unused"] = torch.zeros(1, requires_grad=True)  # has no information, so its variance shows the ratio
    known = run_to_end(forget_fisher(batches(torch.ones(3, 1, 2, 2))))
    ratio = (known.variance["unused"] / known.variance["theta"]).item()
    assert ratio == pytest.approx(1 + 1 / (0.1 / 2), rel=1e-4)  # damping is a tenth of the mean over both parameters


def test_it_needs_nothing_but_forget_images(finished_run):
    assert not PBU.uses_retain_set
    run, _ = finished_run(method="pbu", max_damage=1.0, target=0.0)
    assert run.images_seen == {"forget_real": 500, "forget_drawn": 0, "neutral_drawn": 0, "retain_drawn": 0}
