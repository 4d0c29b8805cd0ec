"""The concept, judge, reference and pictures for a request, by model."""

import json
from types import SimpleNamespace

import pytest
from dummies import dummy_ddpm, dummy_stable_diffusion

from vdu.catalog import CATALOG
from vdu.concepts.attributes import AttributeConcept
from vdu.concepts.base import ConceptRequest
from vdu.concepts.classes import ClassConcept
from vdu.concepts.pictures import PictureConcept
from vdu.concepts.prompt import KEEP, PromptConcept
from vdu.data.forget_set import AttributeSheets, DrawnSheets, RealSheets, UserPictures
from vdu.errors import UserError
from vdu.judges.classifier import ShippedJudge
from vdu.judges.clip import CLIP, ClipJudge
from vdu.judges.fitted import FittedJudge
from vdu.judges.nudenet import NUDENET, NudeNetJudge
from vdu.models import FULL_SIZE, PHOTOGRAPHS, SMALL, UNCONDITIONAL, StableDiffusion
from vdu.recipe import Recipe
from vdu.task import (
    PICTURES,
    choose_judge,
    classes_of,
    entries_that_judge,
    kind_of,
    known_history,
    open_model,
    open_task,
    sample_prompts,
    shape_of,
)

DIGIT, COLOUR, LARGE = (1, 28, 28), (3, 32, 32), (3, 64, 64)
SHIPPED, FITTED, BY_CLIP = (ClassConcept, ShippedJudge), (PictureConcept, FittedJudge), (PromptConcept, ClipJudge)
WORD = (AttributeConcept, ShippedJudge)
OWN = "my-model"  # in no catalog


def chosen(name, shape, prompts, folder, **request):
    """The choice for a model that draws images of a shape, without loading anything."""
    entry = CATALOG.get(name)
    model = SimpleNamespace(takes_prompts=prompts, image_shape=shape, knows_whole=lambda words: True)
    return choose_judge(name, model, entry.folder if entry else folder, entry, ConceptRequest(**request))


@pytest.mark.parametrize(
    ("name", "shape", "prompts", "request_", "kinds", "digest", "source"),
    [
        ("mnist-ddpm", DIGIT, False, {"forget": "3"}, SHIPPED, "mnist-ddpm", RealSheets),
        ("cifar10-ddpm", COLOUR, False, {"forget": "cat"}, SHIPPED, "cifar10-ddpm", DrawnSheets),
        ("mnist-ddpm", DIGIT, False, {"forget": "3", "pictures": "p"}, SHIPPED, "mnist-ddpm", UserPictures),
        ("mnist-ddpm", DIGIT, False, {"forget": "my 3", "pictures": "p", "judge": PICTURES}, FITTED, None, UserPictures),
        ("tiny-sd", COLOUR, True, {"forget": "red"}, WORD, "tiny-sd", AttributeSheets),
        ("cifar10-sd", COLOUR, True, {"forget": "cat"}, WORD, "cifar10-ddpm", DrawnSheets),
        ("tiny-sd", COLOUR, True, {"forget": "red", "judge": "clip"}, BY_CLIP, "clip", UserPictures),
        ("tiny-sd", COLOUR, True, {"forget": "red", "pictures": "p"}, BY_CLIP, CLIP, UserPictures),
        ("tiny-sd", COLOUR, True, {"forget": "nude", "judge": NUDENET}, (PromptConcept, NudeNetJudge), NUDENET, UserPictures),
        (OWN, LARGE, False, {"forget": "lemon"}, SHIPPED, "tiny-imagenet-ddpm", DrawnSheets),
        (OWN, LARGE, False, {"forget": "lemon", "pictures": "p"}, SHIPPED, "tiny-imagenet-ddpm", UserPictures),
        (OWN, LARGE, False, {"forget": "my ship", "pictures": "p"}, FITTED, None, UserPictures),
        (OWN, DIGIT, False, {"forget": "3"}, SHIPPED, "mnist-ddpm", RealSheets),
        (OWN, (1, 24, 24), False, {"forget": "my ship", "pictures": "p"}, FITTED, None, UserPictures),
        (OWN, COLOUR, True, {"forget": "red"}, WORD, "tiny-sd", AttributeSheets),
        (OWN, COLOUR, True, {"forget": "cat"}, WORD, "cifar10-ddpm", DrawnSheets),
        (OWN, COLOUR, False, {"forget": "cat"}, SHIPPED, "cifar10-ddpm", DrawnSheets),
        (OWN, (3, 512, 512), True, {"forget": "a [cat]"}, BY_CLIP, CLIP, UserPictures),
        (OWN, (3, 512, 512), True, {"forget": "x", "judge": NUDENET}, (PromptConcept, NudeNetJudge), NUDENET, UserPictures),
    ],
)
def test_which_judge_for_which_request(name, shape, prompts, request_, kinds, digest, source, tmp_path):
    concept, judge, reference, pictures = chosen(name, shape, prompts, tmp_path, **request_)
    assert (type(concept), type(judge), type(pictures)) == (*kinds, source)
    assert judge.axes == concept.axes
    assert concept.takes_prompts == prompts
    if digest:
        assert judge.digest == digest
    # Only with the judge of a catalog entry there are real pictures to measure against.
    assert bool(reference.statistics) == (type(judge) is ShippedJudge)
    assert judge.error_rates is None  # nothing is fitted yet
    if source is UserPictures:
        assert pictures == UserPictures(request_.get("pictures", ""), shape)


@pytest.mark.parametrize(
    ("name", "shape", "prompts", "request_", "message"),
    [
        ("mnist-ddpm", DIGIT, False, {"forget": "3", "judge": "nudenet"}, "takes no prompts, which nudenet needs"),
        ("mnist-ddpm", DIGIT, False, {"forget": "3", "keep": ("a dog",)}, "there are no prompts to keep"),
        ("mnist-ddpm", DIGIT, False, {"forget": "3", "judge": PICTURES}, "give pictures of what to forget"),
        ("tiny-sd", COLOUR, True, {"forget": "red", "judge": PICTURES}, "its judge is not fitted on pictures"),
        (OWN, (1, 24, 24), False, {"forget": "a"}, "give pictures of what to forget"),
        (OWN, (2, 8, 8), False, {"forget": "a", "pictures": "p"}, "images of 2 channels"),
        (OWN, (1, 24, 24), False, {"forget": "a", "pictures": "p", "keep": ("b", "c")}, "keep takes one folder"),
        (OWN, (3, 512, 512), True, {"forget": "[]"}, "Name something to forget"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_sentence(name, shape, prompts, request_, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        chosen(name, shape, prompts, tmp_path, **request_)
    assert "\n" not in str(caught.value)


def test_without_pictures_an_unknown_class_stays_with_the_judge_that_does_not_know_it(tmp_path):
    concept, judge, _, _ = chosen(OWN, LARGE, False, tmp_path, forget="my ship")
    assert isinstance(judge, ShippedJudge)
    with pytest.raises(UserError, match="no class 'my ship'"):
        _ = concept.class_sets


def left_by(folder, *forgotten):
    """The folder of an earlier run."""
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"earlier": [], "recipe": {}, "forgotten": [*forgotten]}))
    return folder


def test_what_an_earlier_run_forgot_counts_as_far_as_the_judge_knows_it(tmp_path):
    folder = left_by(tmp_path / "digits", "3", "a cat", "3")
    concept, *_ = chosen(OWN, DIGIT, False, folder, forget="8")
    assert concept.forgotten == ("3",)
    assert concept.excluded_class_sets == ((8,), (3,))
    assert "3" not in concept.retained_classes
    assert known_history(tmp_path, concept) == ()
    folder = left_by(tmp_path / "prompts", "a cat")
    assert chosen(OWN, (3, 512, 512), True, folder, forget="a dog")[0].forgotten == ("a cat",)
    # NudeNet looks for nothing else.
    assert chosen(OWN, (3, 512, 512), True, folder, forget="a nude", judge=NUDENET)[0].forgotten == ()


def test_a_task_holds_what_belongs_together_and_reads_its_pictures_once(monkeypatch):
    task = open_task(Recipe(forget="3"))
    assert (task.recipe.method, task.concept.forget, task.judge.digest) == ("vdu-f", "3", "mnist-ddpm")
    assert task.model.image_shape == task.source.shape == DIGIT
    first = task.forget_set()
    monkeypatch.setattr(RealSheets, "forget_set", None)
    assert task.forget_set() is first
    assert first.images.shape == (500, *DIGIT)
    assert open_task(Recipe(model="cifar10-ddpm", forget="frog")).forget_set() is None  # none ships, and it is not asked again


def test_two_tasks_of_a_model_share_no_weight_that_is_trained():
    one, two = (open_task(Recipe()).model for _ in range(2))
    one.train_only("all")
    name, value = next(iter(one.trained.items()))
    assert dict(two.unet.named_parameters())[name].data_ptr() != value.data_ptr()


def test_a_run_goes_on_from_a_folder_in_place_of_the_recipes_model(tmp_path):
    left_by(dummy_ddpm(tmp_path / "left", size=28, channels=1), "5")
    task = open_task(Recipe(forget="3"), start=str(tmp_path / "left"))
    assert task.recipe.model == "mnist-ddpm"
    assert task.model.folder == tmp_path / "left"
    assert (task.judge.digest, task.concept.forgotten) == ("mnist-ddpm", ("5",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    dummy_ddpm(folder / "grey", size=24, channels=1)
    dummy_ddpm(folder / "digits", size=28, channels=1)
    dummy_stable_diffusion(folder / "sd")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mnist-ddpm", UNCONDITIONAL), ("tiny-sd", SMALL), ("cifar10-ddpm", PHOTOGRAPHS), ("grey", UNCONDITIONAL), ("sd", SMALL),
     ("CompVis/stable-diffusion-v1-4", FULL_SIZE), ("google/ddpm-cifar10-32", PHOTOGRAPHS), ("nowhere", UNCONDITIONAL)],
)  # fmt: skip
def test_the_kind_of_a_model_is_known_without_its_weights(name, kind, folder):
    path = folder / name
    assert kind_of(str(path) if path.is_dir() else name) == kind


def test_shape_classes_and_prompts_of_a_model(folder):
    assert shape_of("tiny-sd") == COLOUR
    assert shape_of(str(folder / "grey")) == (1, 24, 24)
    assert shape_of(str(folder)) is None  # which holds no model
    assert shape_of(str(folder / "sd")) is None  # its shape is that of its decoder's images
    assert classes_of(str(folder / "digits")) == classes_of("mnist-ddpm") == tuple("0123456789")
    with pytest.raises(UserError, match="are not known; choose one of mnist-ddpm"):
        classes_of(str(folder / "grey"))
    digits, prompted = (open_model(str(folder / name), "cpu")[0] for name in ("digits", "sd"))
    assert entries_that_judge(digits) == [CATALOG["mnist-ddpm"]]
    assert entries_that_judge(prompted) == []
    assert sample_prompts("x", digits) == (None,)
    assert sample_prompts("x", prompted) == ("anything", *KEEP)
    assert len(sample_prompts("tiny-sd", prompted)) == 80


@pytest.mark.parametrize("name", ["tiny-sd", "cifar10-sd"])
def test_a_model_made_from_a_shipped_one_keeps_its_judge(name):
    model, _, entry = open_model(name, "cpu")
    assert entries_that_judge(model) == [entry]  # though both draw pictures of 32×32 by prompt


def test_a_family_that_cannot_tell_whole_words_has_every_judge_of_its_shape(monkeypatch):
    monkeypatch.delattr(StableDiffusion, "knows_whole")
    assert entries_that_judge(open_model("tiny-sd", "cpu")[0]) == [CATALOG["tiny-sd"], CATALOG["cifar10-sd"]]


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "no model 'nowhere'; choose one of mnist-ddpm"),
     ("tiny-imagenet-ddpm", "train it first, on a GPU: python -m"), ("~nobody-of-that-name/x", "write its path in full")],
)  # fmt: skip
def test_a_model_that_is_not_there_is_one_sentence(name, message):
    with pytest.raises(UserError, match=message) as caught:
        open_model(name, "cpu")
    assert "\n" not in str(caught.value)
