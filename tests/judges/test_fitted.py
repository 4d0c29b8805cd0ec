"""A judge fitted on pictures: its regression, its features, and its accuracy on other pictures of the same kind."""

import pytest
import torch
from pictures_of_ships import of_class, of_others, write_all
from threadpoolctl import threadpool_limits
from torch.nn import functional

from vdu.catalog import CATALOG
from vdu.errors import UserError
from vdu.judges.fitted import DRAWN, PENALTY, FittedJudge, PictureClassifier, cross_validated_odds, features_of, fitted
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sampling import HowToSample, run_to_end
from vdu.task import open_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def separable():
    """Features (60, 5) of different sizes, and which rows are of the class: mostly by the first feature."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn((60, 5), generator=random, dtype=torch.float64)
    labels = features[:, 0] + 0.3 * torch.randn(60, generator=random, dtype=torch.float64) > 0.5
    return features * torch.tensor([1.0, 10, 0.1, 3, 1]), labels


def fitted_odds(features, labels):
    """Log-odds of the rows that the regression is fitted on, and its weights."""
    regression = fitted(features, labels)
    return torch.from_numpy(regression.decision_function(features.numpy())), torch.from_numpy(regression[-1].coef_[0])


def test_the_regression_is_the_optimum_for_the_penalty_and_both_classes_of_equal_weight(separable):
    features, labels = separable
    odds, coefficients = fitted_odds(features, labels)
    assert (odds[labels].mean() - odds[~labels].mean()) > 2
    inputs = (features - features.mean(0)) / features.std(0, correction=0) / 5**0.5  # variances that add up to one
    weights = (coefficients * 5**0.5).requires_grad_()
    bias = (odds - inputs @ weights.detach()).mean().requires_grad_()
    losses = functional.softplus((1 - 2 * labels.double()) * (inputs @ weights + bias))
    ((losses[labels].mean() + losses[~labels].mean()) / 2 + PENALTY * weights.square().sum()).backward()
    assert weights.grad.abs().max() < 1e-6
    assert bias.grad.abs() < 1e-6


def test_the_regression_does_not_see_units_nor_threads(separable):
    features, labels = separable
    torch.testing.assert_close(fitted_odds(1e3 * features - 7, labels)[0], fitted_odds(features, labels)[0])
    many = torch.randn((800, 280), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with threadpool_limits(1):
        _, alone = fitted_odds(many, many[:, 0] > 1)
    with threadpool_limits(2):
        _, together = fitted_odds(many, many[:, 0] > 1)
    assert torch.equal(alone, together)


def test_a_row_has_no_part_in_the_regression_that_judges_it():
    random = torch.Generator().manual_seed(0)
    features = torch.randn((60, 200), generator=random, dtype=torch.float64)
    labels = torch.arange(60) < 20  # of which the features know nothing
    assert ((fitted_odds(features, labels)[0] > 0) == labels).all()
    odds = cross_validated_odds(features, labels)
    assert (odds[labels, None] > odds[~labels]).double().mean() < 0.75
    assert (cross_validated_odds(features, labels, seed=1) != odds).any()


def test_images_of_any_size_grey_or_coloured_are_seen_alike():
    colour = of_class("ship")[:4]
    features, resemblance = features_of(colour)
    assert features.shape == (4, 280)
    torch.testing.assert_close(resemblance, CATALOG["cifar10-ddpm"].judge.judge(colour)[0])
    larger = colour.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert (features_of(larger)[0] - features).norm() < 0.7 * (features - features.roll(1, 0)).norm()
    grey = colour[:, :1]
    torch.testing.assert_close(features_of(grey)[0], features_of(grey.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize(("catalog", "name"), [("cifar10-ddpm", "ship"), ("mnist-ddpm", "3")])
def test_a_judge_of_sixteen_pictures_knows_others_of_the_kind(catalog, name):
    entry = CATALOG[catalog]
    pictures = entry.pictures.examples(name)[:100]
    rest = torch.stack([entry.pictures.examples(other)[:20] for other in entry.classes if other != name], dim=1).flatten(0, 1)
    judge = PictureClassifier(pictures[:16], rest[:90], drawn=False)
    sees, takes = ((judge.judge(part)[0][:, 0] > 0.5).double().mean() for part in (pictures[16:], rest[90:]))
    assert (sees + 1 - takes) / 2 > 0.72
    assert abs(judge.error_rates.to_dict()["balanced_accuracy"] - (sees + 1 - takes) / 2) < 0.2


def test_drawn_images_of_the_class_among_the_rest_are_left_out():
    entry = CATALOG["mnist-ddpm"]
    threes = entry.pictures.examples("3")
    others = torch.stack([entry.pictures.examples(other)[:13] for other in "012456789"], 1).flatten(0, 1)
    mixed = torch.cat([threes[32:56], others[:104]])
    kept, drawn = (PictureClassifier(threes[:32], mixed, drawn=mine) for mine in (False, True))
    sees = [(judge.judge(threes[100:300])[0][:, 0] > 0.5).double().mean() for judge in (kept, drawn)]
    assert sees[1] > sees[0]
    assert drawn.error_rates.passed <= 128 - 12


def test_pictures_that_have_nothing_in_common_are_refused():
    mixed = torch.cat([of_class("ship")[:1], of_others("ship")])
    rows = torch.randperm(len(mixed), generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="no better than chance"):
        PictureClassifier(mixed[rows[:20]], mixed[rows[20:]], drawn=False)


def test_it_is_fitted_once_on_what_the_untouched_model_draws(folder):
    task = open_task(Recipe(forget="my 3", pictures=str(folder / "ships"), judge="pictures"))
    judge = task.judge
    assert isinstance(judge, FittedJudge)
    assert judge.shape == (1, 28, 28)
    assert judge.error_rates is None
    seen = []
    run_to_end(judge.fit(task.model, HowToSample(2)), seen.append)
    assert {event.phase for event in seen} == {"pictures", "judge"}
    assert (seen[-1].done, seen[-1].total) == (DRAWN * 2, DRAWN * 2)
    assert judge.digest == judge.classifier.digest
    assert (judge.error_rates.pictures, judge.error_rates.rest, judge.error_rates.drawn) == (25, DRAWN, True)
    seen.clear()
    run_to_end(judge.fit(task.model, HowToSample(2)), seen.append)
    assert not seen
    probabilities, features = judge.judge(of_class("ship")[:3, :1])
    assert (probabilities.shape, features.shape) == ((3, 2 + 10), (3, 280))
    torch.testing.assert_close(probabilities[:, :2].sum(1), torch.ones(3))
    torch.testing.assert_close(probabilities[:, 2:].sum(1), torch.ones(3))


def test_a_shape_that_the_catalog_knows_gets_it_only_when_asked(folder):
    pictures = str(folder / "ships")
    assert not isinstance(open_task(Recipe(forget="3", pictures=pictures)).judge, FittedJudge)
    with pytest.raises(UserError, match="give pictures"):
        Run(Recipe(forget="3", judge="pictures"))
    with pytest.raises(UserError, match="2 channels"):
        FittedJudge("x", {}, (2, 8, 8), pictures, "")
