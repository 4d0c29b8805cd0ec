"""Where pictures of a concept come from, and which of them a run takes."""

import pytest
import torch
from PIL import Image

from vdu.catalog import CATALOG
from vdu.concepts.base import ConceptRequest
from vdu.concepts.prompt import PromptConcept
from vdu.data.forget_set import ForgetSet, UserPictures, real_images
from vdu.data.sheets import choose, read_sheet, write_sheet
from vdu.errors import UserError
from vdu.metrics.frechet import floor_of
from vdu.recipe import Recipe
from vdu.sampling import run_to_end
from vdu.task import open_task

FROG = CATALOG["cifar10-ddpm"]


def test_fewer_forget_images_are_a_subset_of_more():
    assert choose(500, 8, seed=0) == choose(500, 100, seed=0)[:8]
    assert choose(500, 8, seed=0) != choose(500, 8, seed=1)
    assert sorted(choose(500, 500, seed=0)) == list(range(500))


@pytest.mark.parametrize("shape", [(1, 4, 6), (3, 5, 5)])
def test_a_sheet_is_read_back_as_it_was_written(shape, tmp_path):
    images = torch.randint(0, 256, (50, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_sheet(images, tmp_path / "sheet.png")
    assert torch.equal(read_sheet(tmp_path / "sheet.png", shape), images)


def test_rows_and_sums_of_forget_sets_keep_pictures_and_captions_together():
    first = ForgetSet(torch.arange(3).view(3, 1, 1, 1), ["a", "b", "c"], ["x", "y", "z"])
    both = first.joined(first.rows([2, 0]))
    assert both.images.flatten().tolist() == [0, 1, 2, 2, 0]
    assert (both.captions, both.neutral) == (["a", "b", "c", "c", "a"], ["x", "y", "z", "z", "x"])
    bare = ForgetSet(first.images)
    assert bare.joined(bare.rows([1])).images.flatten().tolist() == [0, 1, 2, 1]
    assert bare.rows([1]).captions is None


def test_no_photograph_is_shipped_but_what_real_ones_are_like_is_known():
    concept = FROG.concept("frog")
    assert FROG.pictures.forget_set(concept) is None
    with pytest.raises(UserError, match="give a folder"):
        run_to_end(real_images(FROG.pictures, concept, FROG.name))
    assert FROG.pictures.examples("frog").shape == (25, 3, 32, 32)
    reference = open_task(Recipe(model="cifar10-ddpm", forget="frog")).reference
    kept = concept.retained_classes
    assert 0 < floor_of(reference, kept, 200) < floor_of(reference, kept, 50)


def test_pictures_of_several_classes_follow_one_another():
    digits = CATALOG["mnist-ddpm"]
    both = run_to_end(real_images(digits.pictures, digits.concept("3, 8"), digits.name))
    assert torch.equal(both, torch.cat([digits.pictures.examples(name) for name in "38"]))


@pytest.mark.parametrize(("model", "forget"), [("cifar10-ddpm", "frog"), ("mnist-ddpm", "8")])
def test_pictures_of_a_users_own_take_the_place_of_those_in_the_box(model, forget, tmp_path):
    for number in range(3):
        picture = Image.new("RGB", (50, 40), (80 * number,) * 3)
        picture.paste((80 * number + 40,) * 3, (0, 0, 25, 40))  # half of what is seen of it
        picture.save(tmp_path / f"{number}.png")
    task = open_task(Recipe(model=model, forget=forget, pictures=str(tmp_path)))
    assert task.forget_set().images.float().mean((1, 2, 3)).round().tolist() == [20, 100, 180]
    assert task.reference.real_features(task.concept.classes[0]).shape[0] > 100  # the measures go on with what ships


def test_a_users_pictures_get_captions_where_the_model_takes_prompts(tmp_path):
    for number in range(5):
        Image.linear_gradient("L").rotate(9 * number).save(tmp_path / f"{number}.png")
    concept = PromptConcept.of("x", ConceptRequest("a hat [of  straw]", ("a dog",)), (), names_kept=True)
    those = run_to_end(UserPictures(str(tmp_path), (3, 16, 16)).read(concept))
    assert those.images.shape == (5, 3, 16, 16)
    assert (those.captions[1], those.neutral[1]) == ("an image of a hat of straw", "an image of a hat")
    assert len(those.captions) == len(those.neutral) == 5
    assert run_to_end(UserPictures("", (3, 16, 16)).read(concept)) is None
