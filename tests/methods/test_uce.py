"""UCE: its closed form against the sum of squares that it minimises, its tokens, and quick runs on prompts alone."""

from dataclasses import replace

import pytest
import torch
from conftest import LIGHT

from vdu.concepts.base import ConceptRequest, Rewriting
from vdu.concepts.prompt import PromptConcept
from vdu.errors import UserError
from vdu.experiments import go_further
from vdu.export import preview_sheet
from vdu.methods import METHODS, Prompts
from vdu.methods.uce import PRIOR, aligned_places, embeddings
from vdu.models import PARAMETERS, UNCONDITIONAL
from vdu.recipe import Recipe, resolve
from vdu.report import report_of
from vdu.sampling import run_to_end
from vdu.summary import images_seen_words
from vdu.task import open_model

RED = LIGHT | {"model": "tiny-sd", "forget": "red", "method": "uce"}
PAIRS = (Rewriting("a photo of a red boot", {"blue": "a photo of a blue boot", "green": "a photo of a green boot"}),
         Rewriting("red sneaker", {"blue": "blue sneaker"}))  # fmt: skip
KEEP = ("a photo of a blue boot", "a green bag", "")


@pytest.fixture(scope="module")
def prompts():
    model, _, _ = open_model("tiny-sd", "cpu")
    model.train_only("cross-attention")
    return Prompts(model, PAIRS, KEEP, gamma=0.3, reach=1.0)


def solved(prompts):
    return METHODS["uce"].solve(prompts)


def test_at_its_weights_the_gradient_of_the_sum_of_squares_vanishes(prompts):
    source, targets, kept = embeddings(prompts)
    assert [*targets] == ["blue", "green"]
    assert torch.equal(targets["blue"][-16:], targets["green"][-16:])  # the second prompt has only one rewriting
    slopes = [slope_at_solution(prompts, source, target, kept) for target in targets.values()]
    assert min(slopes) < 1e-4 < 0.1 < max(slopes)  # of the thing that takes the place, and of the other


def slope_at_solution(prompts, source, target, kept):
    """The largest gradient of the sum of squares at the solution, as a share of the one at the start."""
    found, trained, weights = [], prompts.frozen.trained, solved(prompts).weights
    assert weights.keys() == {name for name in trained if PARAMETERS["keys-values"](name)}
    width, gamma = source.shape[1], prompts.gamma
    mean = sum(share * part.square().sum() / len(part) for share, part in ((1 - gamma, source), (gamma, kept))) / width
    for name, weight in weights.items():
        before = trained[name].detach().double()

        def loss(new, before=before):
            terms = ((1 - gamma, source @ new.T - target @ before.T), (gamma, kept @ (new - before).T))
            fit = sum(share * part.square().sum() / len(part) for share, part in terms)
            return fit + PRIOR * mean * (new - before).square().sum()

        slope, start = (torch.autograd.functional.jacobian(loss, point.detach().double()).norm() for point in (weight, before))
        found.append((slope / start).item())
    return max(found)


def test_nothing_changes_where_nothing_takes_the_words_place_and_reach_scales_the_change(prompts):
    frozen = prompts.frozen.trained
    for nothing in (replace(prompts, rewritings=[Rewriting(text, {"": text}) for text in KEEP]), replace(prompts, reach=0.0)):
        assert all(torch.equal(value, frozen[name]) for name, value in solved(nothing).weights.items())
    once, twice = (solved(replace(prompts, reach=reach)).weights for reach in (1.0, 2.0))
    for name, value in once.items():
        torch.testing.assert_close(twice[name] - frozen[name], 2 * (value - frozen[name]), atol=1e-5, rtol=1e-3)


def test_prompts_to_keep_change_less_the_more_they_weigh(prompts):
    moved = [solved(replace(prompts, gamma=gamma)).terms.stability for gamma in (0.1, 0.9, 0.999)]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 0.1 * solved(prompts).terms.plasticity


@pytest.mark.parametrize(
    ("tokens", "others", "places"),
    [
        ([0, 5, 6, 1], [0, 5, 7, 1], [0, 1, 2, 3, 4, 5]),  # one word for another
        ([0, 6, 8, 1], [0, 8, 1], [0, 1, 1, 2, 3, 4]),  # a word left out; the padding follows the end
        ([0, 6, 1], [0, 5, 8, 1], [0, 1, 3, 4, 5, 5]),  # one word for two
        ([0, 5, 6, 8, 1], [0, 7, 8, 1], [0, 1, 1, 2, 3, 4]),  # two words for one
        ([0, 5, 1], [0, 5, 1], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_tokens_are_matched_from_both_ends(tokens, others, places):
    assert aligned_places(tokens, others, 6) == places


def test_a_run_sees_no_image_and_its_strength_can_be_moved_afterwards(finished_run):
    run, _ = finished_run(**RED, max_damage=1.0)
    report = report_of(run)
    assert images_seen_words(report["images_seen"]) == "The method saw no images."
    assert (report["steps_taken"], len(run.steps), report["recipe"]["optimizer"]) == (1, 1, "closed-form")
    start = dict(open_model("tiny-sd", "cpu")[0].unet.named_parameters())
    moved = {name for name, value in run.model.unet.named_parameters() if not torch.equal(value, start[name])}
    assert run.scale > 0
    assert moved == {name for name in run.model.trained if PARAMETERS["keys-values"](name)}
    none, further = (run_to_end(go_further(run, factor)) for factor in (0.0, 1.5))
    assert (none.images.float() - run.previews[0].images.float()).abs().mean() < 2  # some processors round differently
    assert not torch.equal(further.images, none.images)
    assert preview_sheet(further)


def test_a_prompt_of_ones_own_is_rewritten_by_its_neutral_words(prompts):
    concept = PromptConcept.of("x", ConceptRequest("a boot [in red]", ("a bag",)), (), names_kept=True)
    assert concept.rewritings[1] == ("an image of a boot in red", {"": "an image of a boot"})
    assert {"a bag", "an image of a boot", ""} <= {*concept.prompts_to_keep}
    whole = PromptConcept.of("x", ConceptRequest("red", ("a bag",)), (), names_kept=True)
    assert whole.rewritings[:2] == [("red", {"": ""}), ("an image of red", {"": "an image of"})]
    terms, _ = solved(replace(prompts, rewritings=concept.rewritings, keep=concept.prompts_to_keep))
    assert 0 < terms.stability < terms.plasticity


def test_it_is_refused_where_it_has_no_meaning(prompts):
    with pytest.raises(UserError, match="Method uce cannot be used with a model that takes no prompts"):
        resolve(Recipe(method="uce"), UNCONDITIONAL)
    for method, optimizer in (("uce", "adam"), ("vdu-f", "closed-form")):
        with pytest.raises(UserError, match=f"Method {method} takes (no )?steps"):
            Recipe(method=method, optimizer=optimizer)
    model, _, _ = open_model("tiny-sd", "cpu")
    model.train_only("no-cross-attention")
    with pytest.raises(UserError, match="how the prompt is read"):
        solved(replace(prompts, frozen=model))
