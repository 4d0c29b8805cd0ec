"""Fisher information on the batches of a run, against a model with one parameter."""

import pytest
from line import line_batch

from vdu.methods import fisher
from vdu.methods.fisher import BATCHES, information, posterior_of
from vdu.posterior import SPREAD
from vdu.sampling import run_to_end


def repeated(batch):
    while True:
        yield batch


def test_it_is_the_expected_square_of_the_input(monkeypatch):
    """The gradient of u . theta x in theta is u . x, whose expected square is |x|^2."""
    monkeypatch.setattr(fisher, "BATCHES", 2000)
    batch = line_batch()
    forget, replay = run_to_end(information(repeated(batch), "forget", "replay"))
    for found, images in ((forget, batch.forget), (replay, batch.replay)):
        assert found["theta"].item() == pytest.approx(images.states.square().sum().item() / 3, rel=0.15)


def test_it_says_how_far_it_is_and_looks_at_no_more_batches():
    batches, progress = iter([line_batch() for _ in range(BATCHES + 2)]), []
    run_to_end(information(batches, "forget"), progress.append)
    assert [event.done for event in progress] == [*range(1, BATCHES + 1)]
    assert len(list(batches)) == 2


def test_the_posterior_lies_around_the_weights_as_they_are_and_is_as_wide_as_others():
    posterior = run_to_end(posterior_of(repeated(line_batch(theta=0.7)), "replay"))
    assert posterior.mean["theta"].item() == pytest.approx(0.7)
    assert posterior.variance["theta"].item() == pytest.approx((SPREAD * 0.7) ** 2, rel=1e-4)
