"""SISS: its importance weights, the mixture that they belong to, and the length of the ascent."""

import pytest
import torch
from line import line_batch

from vdu.losses import noised_set, per_image_error
from vdu.methods.siss import MIXTURE, importance_weights, length, mixed, subtracted_scores
from vdu.models import Condition


def test_the_weights_are_both_densities_over_the_mixtures():
    keep, forget = torch.tensor([0.2, 3.0, 0.5]), torch.tensor([0.2, 0.3, 4.0])
    mixture = (1 - MIXTURE) * keep + MIXTURE * forget
    weights = importance_weights((forget / keep).log())
    torch.testing.assert_close(weights, (keep / mixture, forget / mixture))


def test_an_image_of_one_set_alone_has_weight_in_one_term_alone():
    keep, forget = importance_weights(torch.tensor([torch.inf, -torch.inf]))
    assert keep.tolist() == [0, 1 / (1 - MIXTURE)]
    assert forget.tolist() == [1 / MIXTURE, 0]


def test_rows_come_from_one_of_the_two_whole(batch):
    images, chosen = mixed(batch)
    for row, of_forget in enumerate(chosen.tolist()):
        source = batch.forget if of_forget else batch.replay
        assert torch.equal(images.states[row], source.states[row])
        assert images.t[row] == source.t[row]


def by_hand(batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Both terms for the mixture that the same random draws give; all weights C_t are 1."""
    images, _ = mixed(batch)
    alpha_bar = batch.frozen.alpha_bar[images.t]
    (log_keep, to_keep), (log_forget, to_forget) = (
        noised_set(images.states, alpha_bar, part) for part in (batch.kept_set, batch.forget_set)
    )
    predicted = batch.model.unet.theta * images.states
    mixture = torch.logaddexp(log_keep, log_forget) + torch.log(torch.tensor(0.5))
    kept = ((log_keep - mixture).exp() * per_image_error(predicted, to_keep)).mean()
    return kept, ((log_forget - mixture).exp() * per_image_error(predicted, to_forget)).mean()


def plain_batch(**changes):
    batch = line_batch(**changes)
    batch.weight = torch.ones(3)
    return batch


def test_the_terms_are_those_worked_out_from_the_densities():
    terms, (kept, forgotten) = subtracted_scores(plain_batch()), by_hand(plain_batch())
    torch.testing.assert_close(terms.stability, kept, rtol=1e-4, atol=0)
    torch.testing.assert_close(terms.plasticity, forgotten, rtol=1e-4, atol=0)


@pytest.mark.parametrize(("gamma", "reach"), [(0.9, 1.0), (0.9, 5.0), (0.0, 1.0)])
def test_the_ascents_gradient_is_a_share_of_the_descents(gamma, reach):
    batch = plain_batch(gamma=gamma)
    batch.reach = reach
    terms = subtracted_scores(batch)
    gradient, kept, forgotten = (
        torch.autograd.grad(term, batch.model.unet.theta, retain_graph=True)[0].item()
        for term in (terms.loss, terms.stability, terms.plasticity)
    )
    assert gradient - kept == pytest.approx(-(1 - gamma) * reach * abs(kept) * (1 if forgotten > 0 else -1), rel=1e-4)
    assert length(terms.stability, batch).item() == pytest.approx(abs(kept), rel=1e-5)


def test_with_prompts_both_terms_have_the_drawn_noise_of_their_own_images():
    batch = plain_batch()
    batch.model.takes_prompts = True
    batch.forget.caption = batch.forget.condition = batch.replay.condition = Condition({})
    terms = subtracted_scores(batch)
    again = plain_batch()
    again.forget.caption = Condition({})
    images, chosen = mixed(again)
    errors = per_image_error(again.model.unet.theta * images.states, images.noise)
    torch.testing.assert_close(terms.plasticity, errors[chosen].sum() / MIXTURE / 3)
    torch.testing.assert_close(terms.stability, errors[~chosen].sum() / (1 - MIXTURE) / 3)
