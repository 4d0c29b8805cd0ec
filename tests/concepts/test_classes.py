"""What all concepts share, on the simplest one: a class of a model without prompts."""

import pytest

from vdu.catalog import CATALOG
from vdu.concepts.base import (
    INSTEAD,
    KEPT,
    MEASURED_KINDS,
    MEASURED_KINDS_AGAIN,
    REPLAY_KINDS,
    TARGET,
    UNPROMPTED,
    PromptKind,
    PromptSpec,
    history,
)
from vdu.concepts.classes import ClassConcept
from vdu.errors import UserError

DIGITS = CATALOG["mnist-ddpm"].axes


def digit(forget, *forgotten):
    return ClassConcept("mnist-ddpm", DIGITS, forget, forgotten)


def test_several_classes_are_any_of_them_in_the_order_they_are_named():
    concept = digit("9, 4+9 or 0")
    assert concept.class_sets == ((9,), (4,), (0,))
    assert concept.display_name == "9 or 4 or 0"
    assert concept.forgotten_classes == ("9", "4", "0")
    assert concept.retained_classes == list("1235678")
    assert concept.axes_named == [0]
    assert not concept.takes_prompts


def test_what_earlier_runs_forgot_is_neither_kept_nor_a_second_time_forgotten():
    concept = digit("3", "8", "3")
    assert concept.class_sets == ((3,),)
    assert concept.excluded_class_sets == ((3,), (8,))
    assert concept.retained_classes == list("01245679")


def test_no_image_of_a_plan_has_a_prompt():
    assert digit("3").plan(5) == [PromptSpec(TARGET, None)] * 5
    assert digit("3").prompts == (None,)
    assert digit("3").captions(4) is None


@pytest.mark.parametrize(("forget", "message"), [("cat", "no class 'cat'; its classes are 0, 1"), ("0123456789", "no class"),
                                                 (",".join("0123456789"), "every digit forgotten")])  # fmt: skip
def test_what_is_no_class_or_all_of_them_is_refused(forget, message):
    with pytest.raises(UserError, match=message):
        digit(forget).plan(1)


def test_a_prompt_is_made_neutral_and_remembers_what_it_replaces():
    spec = PromptSpec(INSTEAD, "a red bag", (1, 2))
    assert spec.neutral("a bag") == PromptSpec(INSTEAD, "a bag", (1, 2), "a red bag")
    assert PromptSpec(UNPROMPTED, "a red bag").neutral("a bag") == PromptSpec(UNPROMPTED, "", (), "a red bag")


def test_kinds_are_words_and_every_measured_kind_is_asked_for():
    assert [str(kind) for kind in PromptKind] == ["target", "kept", "paraphrase", "instead", "unprompted", "earlier"]
    assert set(MEASURED_KINDS_AGAIN) == set(PromptKind)
    assert set(MEASURED_KINDS_AGAIN) - set(MEASURED_KINDS) == {PromptKind.EARLIER}
    assert REPLAY_KINDS == (TARGET, KEPT, INSTEAD)
    for kinds in (MEASURED_KINDS, MEASURED_KINDS_AGAIN, REPLAY_KINDS):
        assert kinds[0] == TARGET
        assert kinds.count(TARGET) == kinds.count(KEPT)


@pytest.mark.parametrize(
    "text", [None, "no JSON", "[]", '{"forgotten": ["3"]}', '{"earlier": 1, "recipe": {}, "forgotten": []}']
)
def test_a_folder_without_a_readable_report_has_no_history(text, tmp_path):
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    assert history(tmp_path) == history(None) == {"recipes": [], "forgotten": []}


def test_the_history_is_all_recipes_earliest_first(tmp_path):
    text = '{"earlier": [{"seed": 1}], "recipe": {"seed": 2}, "forgotten": ["3", 7]}'
    (tmp_path / "report.json").write_text(text)
    assert history(tmp_path) == {"recipes": [{"seed": 1}, {"seed": 2}], "forgotten": ["3"]}
