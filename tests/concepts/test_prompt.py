"""A user's own prompt: its words to forget, the prompts to keep, and the prompts that are sampled."""

from collections import Counter

import pytest

from vdu.concepts.base import (
    EARLIER,
    INSTEAD,
    KEPT,
    MEASURED_KINDS,
    MEASURED_KINDS_AGAIN,
    OTHERWISE,
    PARAPHRASE,
    TARGET,
    ConceptRequest,
    PromptSpec,
)
from vdu.concepts.prompt import KEEP, PHRASES, PromptConcept
from vdu.errors import UserError


def concept_of(forget, keep=(), forgotten=(), names_kept=True):
    return PromptConcept.of("x", ConceptRequest(forget, tuple(keep)), forgotten, names_kept)


def test_words_in_brackets_are_those_to_forget():
    concept = concept_of("a hat [of  straw]", ["a dog"])
    assert (concept.caption, concept.neutral) == ("a hat of straw", "a hat")
    captions = concept.captions(5)
    assert len(captions) == 5
    assert captions[1] == "an image of a hat of straw"
    assert concept.neutral_prompt(captions[1]) == "an image of a hat"
    assert [spec.prompt for spec in concept.plan(6, (TARGET, KEPT, INSTEAD))] == [
        "a hat of straw", "a dog", "a hat", "an image of a hat of straw", "a dog", "an image of a hat"]  # fmt: skip
    specs = concept.plan(50, MEASURED_KINDS)
    assert specs[:20] == concept.plan(20, MEASURED_KINDS)
    assert not {spec.prompt for spec in specs if spec.kind == PARAPHRASE} & set(captions)
    assert concept_of("straw").neutral_prompt("an image of straw") == ""
    usual = concept_of("a photo of a dog")
    assert usual.caption not in usual.keep
    assert set(usual.keep) < set(KEEP)


def test_every_kept_prompt_is_a_class_unless_the_judge_tells_none_apart():
    named, unnamed = (concept_of("a hat", ["a dog", "a cat", "a dog"], names_kept=names) for names in (True, False))
    assert named.classes == ("a hat", "a dog", "a cat", OTHERWISE)
    assert unnamed.classes == ("a hat", OTHERWISE)
    assert named.prompts == unnamed.prompts == ("a hat", "a dog", "a cat")
    asked = (KEPT, KEPT)
    assert [spec.classes for spec in named.plan(2, asked)] == [(1,), (2,)]
    measured = Counter(spec.prompt for spec in concept_of("a hat").plan(50, MEASURED_KINDS) if spec.kind == KEPT)
    assert {*measured} == {*concept_of("a hat").keep}, "all are measured"
    assert max(measured.values()) - min(measured.values()) <= 1
    assert named.plan(3, (KEPT,))[1] == PromptSpec(KEPT, "a cat", (2,))
    assert unnamed.plan(1, asked)[0] == PromptSpec(KEPT, "a dog", (1,))  # right if there is nothing to forget in it
    assert named.class_sets == unnamed.class_sets == ((0,),)
    assert named.retained_classes == ["a dog", "a cat", OTHERWISE]


def test_the_judge_has_a_text_per_class_and_the_neutral_prompt_stands_for_the_rest():
    concept = concept_of("a hat [of straw]", ["a dog"], ["a boat"])
    assert concept.judge_texts == ["a hat of straw", "a dog", "a boat", "a hat"]
    assert len(concept.judge_texts) == len(concept.classes)
    assert concept_of("a hat", ["a dog"]).judge_texts == ["a hat", "a dog", OTHERWISE]
    assert concept_of("a hat [of straw]", ["a hat"]).judge_texts == ["a hat of straw", "a hat", OTHERWISE]


def test_what_was_forgotten_before_is_a_class_of_its_own_and_asked_for_again():
    concept = concept_of("a boat", ["a dog"], ["a hat of straw"])
    assert concept.classes == ("a boat", "a dog", "a hat of straw", OTHERWISE)
    assert concept.retained_classes == ["a dog", OTHERWISE]
    assert concept.excluded_class_sets == ((0,), (2,))
    assert concept.prompt_kinds == MEASURED_KINDS_AGAIN
    again = {spec.prompt for spec in concept.plan(28, concept.prompt_kinds) if spec.kind == EARLIER}
    assert again
    assert again <= {phrase.format("a hat of straw") for phrase in PHRASES}
    same = concept_of("a hat [of straw]", ["a dog"], ["a hat of straw"])
    assert same.forgotten == ()
    assert same.prompt_kinds == MEASURED_KINDS


@pytest.mark.parametrize(
    ("forget", "keep", "forgotten", "message"),
    [
        ("[]", (), (), "Name something"),
        ("a dog", ("a dog",), (), "'a dog' cannot be forgotten and kept at once"),
        ("a dog", ("a hat",), ("a hat",), "'a hat' cannot be forgotten and kept at once"),
        (OTHERWISE, (), (), "cannot be forgotten and kept at once"),
    ],
)
def test_words_that_mean_nothing_are_refused(forget, keep, forgotten, message):
    with pytest.raises(UserError, match=message):
        concept_of(forget, keep, forgotten)
