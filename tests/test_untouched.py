"""Images that ship with a model are what the model draws, and are used only where it would draw them."""

import json
from dataclasses import replace

import pytest

from vdu import untouched
from vdu.catalog import CATALOG
from vdu.recipe import Recipe
from vdu.run import Run
from vdu.sampling import Role, image_seeds, run_to_end, sample
from vdu.stock import STOCK, draw_plain, plain_pipeline
from vdu.untouched import SEED, shipped_images, shipped_stock

SHIPPED = [name for name, entry in CATALOG.items() if (entry.folder / untouched.FOLDER).is_dir()]
FEW = 12
# Mean level of 255 by which an image drawn here may differ from the shipped one: both were drawn in the same precision, but
# perhaps on different processors. Images of two seeds differ by 30 or more.
CLOSE = 15


@pytest.fixture(scope="module", params=SHIPPED)
def example(request):
    """A run of the default recipe of a model's example, not carried out."""
    report = json.loads((CATALOG[request.param].folder / "example" / "report.json").read_text())
    return Run(Recipe(model=request.param, forget=report["forget"], device="cpu"))


def first_of(run, role, count):
    """Seeds, sampler's settings and prompts of the first images of a role in a run."""
    concept = run.task.concept
    specs = concept.plan(count, concept.prompt_kinds) if role == Role.MEASURE else concept.plan(count)
    return image_seeds(SEED, count, role), run.recipe.how, [spec.prompt for spec in specs]


@pytest.mark.parametrize("role", [Role.MEASURE, Role.STEER])
def test_what_ships_is_what_the_model_draws(role, example):
    seeds, how, prompts = first_of(example, role, FEW)
    shipped, drawn = shipped_images(example.model, seeds, how, prompts), run_to_end(sample(example.model, seeds, how, prompts))
    assert shipped.shape == drawn.shape
    apart = (shipped.float() - drawn.float()).abs().mean((1, 2, 3))
    assert apart.median() < CLOSE / 3
    assert (apart < CLOSE).sum() >= FEW - 3  # some may have come to another class


def test_a_default_run_finds_all_of_its_images(example):
    for role, count in ((Role.MEASURE, example.recipe.samples), (Role.STEER, example.recipe.replay)):
        assert len(shipped_images(example.model, *first_of(example, role, count))) == count


def test_both_precisions_ship_with_the_smallest_model():
    assert "mnist-ddpm" in SHIPPED
    for name in SHIPPED:
        assert {path.name for path in (CATALOG[name].folder / untouched.FOLDER).iterdir()} - {"stock"} == {
            "bfloat16",
            "float32",
        }


@pytest.mark.parametrize("changed", ["seed", "prompt", "sampler", "weights", "trained", "device", "more"])
def test_anything_else_is_drawn(changed, example):
    model, (seeds, how, prompts) = example.model.clone(), first_of(example, Role.MEASURE, FEW)
    match changed:
        case "seed":
            seeds = [*seeds[:-1], seeds[-1] + 1]
        case "prompt":
            prompts = [*prompts[:-1], "a green hat"]
        case "sampler":
            how = replace(how, steps=how.steps + 1)
        case "weights":
            model = replace(model, digest="of others")
        case "trained":
            next(iter(model.trained.values())).requires_grad_(False)
        case "device":
            model = replace(model, device="cuda")
        case "more":
            seeds, how, prompts = first_of(example, Role.MEASURE, untouched.MEASURED + 1)
    assert shipped_images(model, seeds, how, prompts) is None


def test_what_ships_of_stock_samplers_is_what_diffusers_draws():
    from vdu.attacks.elsewhere import SAMPLERS
    from vdu.task import open_model

    model, folder, _ = open_model("mnist-ddpm", "cpu")
    pipeline, seeds = plain_pipeline(folder), image_seeds(SEED, 4)
    for sampler in SAMPLERS:
        shipped = shipped_stock(model, folder, sampler, seeds)
        drawn = run_to_end(draw_plain(pipeline, sampler, seeds, model.shape))
        assert (shipped.float() - drawn.float()).abs().mean((1, 2, 3)).median() < CLOSE / 3


@pytest.mark.parametrize("changed", ["seed", "sampler", "steps", "weights", "folder", "device", "more"])
def test_any_other_image_of_a_stock_sampler_is_drawn(changed, monkeypatch, tmp_path):
    from vdu.task import open_model

    (model, folder, _), sampler, seeds = open_model("mnist-ddpm", "cpu"), "Euler", image_seeds(SEED, FEW)
    assert shipped_stock(model, folder, sampler, seeds) is not None
    match changed:
        case "seed":
            seeds = image_seeds(SEED + 1, FEW)
        case "sampler":
            sampler = "DDIM"
        case "steps":
            monkeypatch.setitem(STOCK, sampler, (STOCK[sampler][0], STOCK[sampler][1] + 1))
        case "weights":
            model = replace(model, digest="of others")
        case "folder":
            folder = tmp_path  # an unlearned copy, which knows the digest of the original
        case "device":
            model = replace(model, device="cuda")
        case "more":
            seeds = image_seeds(SEED, untouched.STOCK_IMAGES + 1)
    assert shipped_stock(model, folder, sampler, seeds) is None
