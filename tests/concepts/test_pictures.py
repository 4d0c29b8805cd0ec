"""A concept given by pictures alone."""

import pytest

from vdu.concepts.base import OTHERWISE, ConceptRequest, PromptSpec
from vdu.concepts.pictures import PictureConcept
from vdu.errors import UserError


def test_the_whole_name_is_one_class_and_everything_else_is_kept():
    concept = PictureConcept.of("x", ConceptRequest("my ship, and yours", ("others",), "ships"), ("cat", "dog"))
    assert concept.axes == {"class": ("my ship, and yours", OTHERWISE), "look": ("cat", "dog")}
    assert concept.class_sets == concept.excluded_class_sets == ((0,),)
    assert concept.display_name == "my ship, and yours"
    assert concept.retained_classes == [OTHERWISE]
    assert concept.axes_named == [0]
    assert concept.plan(3) == [PromptSpec()] * 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ConceptRequest("a", ("b", "c")), "keep takes one folder"),
        (ConceptRequest(OTHERWISE), "give the concept another name"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        PictureConcept.of("x", given, ())
