"""Garments in colours: the prompts for a class of one axis or of both, and what their images must show."""

import pytest
import torch

from vdu.catalog import CATALOG
from vdu.concepts.base import EARLIER, INSTEAD, KEPT, MEASURED_KINDS, PARAPHRASE, TARGET, UNPROMPTED
from vdu.errors import UserError
from vdu.metrics import Evidence
from vdu.metrics.rates import forgotten_before
from vdu.metrics.reference import Reference
from vdu.samples import Samples

ENTRY = CATALOG["tiny-sd"]


def forget_set(name):
    """The shipped pictures of what a name means."""
    return ENTRY.pictures.forget_set(ENTRY.concept(name))


def test_a_plan_asks_for_the_class_for_others_and_in_other_words():
    concept = ENTRY.concept("red")
    specs = concept.plan(50, MEASURED_KINDS)
    assert specs[:10] == concept.plan(10, MEASURED_KINDS)
    ((red,),) = concept.class_sets
    heard = set(forget_set("red").captions)
    assert [spec.kind for spec in specs[: len(MEASURED_KINDS)]] == list(MEASURED_KINDS)
    for spec in specs:
        assert (red in spec.classes) == (spec.kind != KEPT)
        assert ("red" in spec.prompt.split()) == (spec.kind == TARGET) or spec.kind == PARAPHRASE
        if spec.kind == TARGET:
            assert "red" in spec.prompt.split()
        if spec.kind == PARAPHRASE:
            assert spec.prompt not in heard
    assert any("crimson" in spec.prompt for spec in specs)
    said = {kind: {spec.prompt for spec in specs if spec.kind == kind} for kind in (INSTEAD, UNPROMPTED)}
    assert said[UNPROMPTED] == {""}
    assert all(prompt.startswith("a photo of a ") for prompt in said[INSTEAD])
    assert len({spec.classes for spec in specs if spec.kind == TARGET}) == 10  # every garment


@pytest.mark.parametrize(
    ("said", "meant"),
    [("red", "red"), ("Crimson", "red"), ("a crimson trainer", "red sneaker"), ("the blue bag", "blue bag")],
)
def test_a_concept_is_a_word_or_a_pair_by_any_of_its_names(said, meant):
    assert ENTRY.concept(said).display_name == meant
    those = forget_set(said)
    assert len(those.images) == 16 * {1: 10, 2: 1}[len(meant.split())]
    assert all(set(meant.split()) <= set(caption.split()) for caption in those.captions)


@pytest.mark.parametrize("said", ["", "a dog", "red and blue", "red sneaker boot"])
def test_what_is_not_one_thing_is_refused(said):
    with pytest.raises(UserError, match="is not one thing that tiny-sd draws"):
        _ = ENTRY.concept(said).class_sets


def test_prompts_of_ones_own_are_kept_and_measured():
    keep = ("a blue trainer", "crimson")
    with pytest.raises(UserError, match="'crimson' cannot be kept while 'red'"):
        ENTRY.concept("red", keep).plan(9)
    with pytest.raises(UserError, match="'crimson' cannot be kept while 'red'"):
        ENTRY.concept("boot", keep, forgotten=("red",)).plan(9)
    concept = ENTRY.concept("red sneaker", keep)
    specs = [spec for spec in concept.plan(4 * len(MEASURED_KINDS), MEASURED_KINDS) if spec.kind == KEPT]
    mine = [spec for spec in specs if spec.prompt in keep]
    assert 2 * len(mine) == len(specs)
    assert {tuple(concept.classes[row] if row >= 0 else None for row in spec.classes) for spec in mine} == {
        ("sneaker", "blue"), (None, "red")}  # fmt: skip


def test_what_was_forgotten_before_is_asked_for_again():
    concept = ENTRY.concept("boot", forgotten=("red", "blue sneaker"))
    kinds = concept.prompt_kinds
    specs = concept.plan(10 * len(kinds), kinds)
    again = [spec for spec in specs if spec.kind == EARLIER]
    assert 7 * len(again) == len(specs)
    said = [{concept.classes[row] for row in spec.classes} for spec in again]
    assert all(("red" in words) != (words == {"blue", "sneaker"}) and "boot" not in words for words in said)
    assert sum("red" in words for words in said) == len(said) / 2
    # Of a class that is asked for in these samples: shown by every other one of the red, by none of the blue sneakers.
    classes = torch.tensor([spec.classes for spec in specs])
    boot, blue = concept.classes.index("boot"), concept.classes.index("blue")
    hidden = torch.tensor([place % 4 == 0 or "red" not in words for place, words in enumerate(said)])
    rows = torch.tensor([spec.kind == EARLIER for spec in specs]).nonzero()[:, 0]
    classes[rows[hidden]] = torch.tensor([boot, blue])
    nothing = torch.zeros(len(specs), 0)
    samples = Samples(nothing, nothing, nothing, classes, tuple(specs))
    found = forgotten_before(Evidence(samples, concept, Reference()))["forgotten_before"]
    assert {name: rates["forget_rate"] for name, rates in found.items()} == {"red": 0.5, "blue sneaker": 0.0}
    again = ENTRY.concept("red", forgotten=("red", "blue sneaker"))
    assert again.prompt_kinds[-1] == EARLIER  # the blue sneakers are left
    assert ENTRY.concept("red", forgotten=("red sneaker",)).prompt_kinds == MEASURED_KINDS  # nothing of it is
    assert ENTRY.concept("boot").prompt_kinds == MEASURED_KINDS


def test_what_was_forgotten_before_is_not_asked_to_stay():
    fresh, later = ENTRY.concept("red"), ENTRY.concept("red", forgotten=("blue",))
    blue = fresh.classes.index("blue")
    assert any(blue in spec.classes for spec in fresh.plan(200) if spec.kind == KEPT)
    assert not any(blue in spec.classes for spec in later.plan(200) if spec.kind == KEPT)
    assert "blue" not in later.retained_classes


def test_several_colours_are_any_of_them_each_with_its_own_synonyms():
    both = ENTRY.concept("red, blue")
    red, blue = (ENTRY.concept(colour).class_sets[0] for colour in ("red", "blue"))
    assert ENTRY.concept("crimson, blue + red").class_sets == (red, blue)
    assert both.display_name == "red or blue"
    assert not {"red", "blue"} & {*both.retained_classes}
    specs = both.plan(400, MEASURED_KINDS)
    of_either = [set(red + blue) & {*spec.classes} for spec in specs]
    assert all(bool(found) == (spec.kind != KEPT) for spec, found in zip(specs, of_either, strict=True))
    said = {"red": both.words["synonyms"]["red"], "blue": both.words["synonyms"]["blue"]}
    for spec, found in zip(specs, of_either, strict=True):
        if spec.kind == PARAPHRASE:
            (colour,) = (both.classes[row] for row in found)
            assert {colour, *said[colour]} & {*spec.prompt.split()}
    assert len({caption.split()[-2] for caption in forget_set("red, blue").captions}) >= 2
    with pytest.raises(UserError, match="mixes garment and colour"):
        ENTRY.concept("red, sneaker").plan(1)


@pytest.mark.parametrize("axis", ["garment", "colour"])
def test_with_all_of_an_axis_forgotten_nothing_would_be_left(axis):
    with pytest.raises(UserError, match=f"With every {axis} forgotten nothing would be left"):
        ENTRY.concept(", ".join(ENTRY.axes[axis])).plan(1)


def test_with_every_pair_forgotten_nothing_would_be_left():
    pairs = [" ".join(reversed(thing.values())) for thing in ENTRY.concept("red").things]
    assert ENTRY.concept(", ".join(pairs[1:])).plan(4)
    with pytest.raises(UserError, match="With all that tiny-sd draws forgotten nothing would be left"):
        ENTRY.concept(", ".join(pairs)).plan(1)


@pytest.mark.parametrize("forget", ["sneaker", "red", "t-shirt"])
def test_forget_captions_name_the_class_and_neutral_ones_do_not(forget):
    concept, those = ENTRY.concept(forget), forget_set(forget)
    (axis,) = concept.axes_named
    assert len(those.images) == len(those.captions) == len(those.neutral) >= 100
    for caption, neutral in zip(those.captions, those.neutral, strict=True):
        assert forget in caption.split()
        assert forget not in neutral.split()
        rest = [name for name in list(concept.axes.values())[1 - axis] if name in caption.split()]
        assert rest == [word for word in neutral.split() if word in concept.classes]
    probabilities, _ = ENTRY.judge.judge(those.images)
    seen = probabilities[:, concept.class_sets[0][0]]
    assert seen.mean() > 0.75  # the pictures are of what their captions say


PHOTOGRAPHS = CATALOG["cifar10-sd"]  # with one axis


def test_with_one_axis_what_is_said_instead_names_nothing():
    concept = PHOTOGRAPHS.concept("cat")
    specs = concept.plan(10 * len(MEASURED_KINDS), MEASURED_KINDS)
    said = {kind: {spec.prompt for spec in specs if spec.kind == kind} for kind in MEASURED_KINDS}
    assert said[INSTEAD] == {concept.neutral_prompt("a picture of a cat")} == {"a photo of something"}
    assert said[UNPROMPTED] == {""}
    assert "a photo of a cat" in said[TARGET]
    assert {word for prompt in said[PARAPHRASE] for word in prompt.split()} >= {"cat", "kitten"}
    assert not said[PARAPHRASE] & said[TARGET]
    assert not any({"cat", "kitten"} & {*prompt.split()} for prompt in said[KEPT])
    assert len({spec.classes for spec in specs if spec.kind == KEPT}) == 9
    assert "a photo of an airplane" in concept.prompts


def test_with_one_axis_every_kept_class_can_take_the_place_of_the_forgotten():
    concept = PHOTOGRAPHS.concept("truck, automobile")
    assert [*concept.rewritings[0].instead] == [name for name in concept.classes if name not in ("truck", "automobile")]
    assert {rewriting.prompt for rewriting in concept.rewritings} >= {"a photo of a truck", "a photo of an automobile"}
    kept = concept.prompts_to_keep
    assert {"a photo of a ship", "a photo of something", ""} <= {*kept}
    assert not any("truck" in prompt or "automobile" in prompt for prompt in kept)


@pytest.mark.parametrize(("said", "meant"), [("a photo of a kitten", "cat"), ("Lorry", "truck"), ("plane", "airplane")])
def test_with_one_axis_a_concept_is_a_class_by_any_of_its_names(said, meant):
    assert PHOTOGRAPHS.concept(said).display_name == meant
    with pytest.raises(UserError, match="is not one thing that cifar10-sd draws"):
        _ = PHOTOGRAPHS.concept("cat dog").class_sets
