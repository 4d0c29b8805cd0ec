"""Figures, pictures and words that all attacks share."""

import dataclasses

import pytest
import torch
from attack_states import attacked, task

from vdu.attacks import ATTACKS, Row, fitting
from vdu.attacks.base import and_list, no_pictures, pictures_of_it, pictures_of_others
from vdu.data.forget_set import UserPictures
from vdu.sampling import run_to_end


def test_a_rate_has_its_wilson_interval():
    row = Row.rate("unlearned", "", 5, torch.arange(100) < 50)
    assert (row.value, row.count) == (0.5, 100)
    assert row.ci95 == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert row.words() == "50 % [40–60]"


def test_the_best_known_attack_comes_first_and_each_says_whether_it_applies():
    assert [*ATTACKS] == ["relearn", "complete", "elsewhere", "invert", "probe", "words"]
    assert [*fitting(attacked())] == ["relearn", "complete", "probe"]
    assert ATTACKS["words"].misfit(attacked()) == "mnist-ddpm takes no prompts."
    for attack in ATTACKS.values():
        assert len(attack.over) == len(attack.figure) == 2


def test_without_pictures_a_sentence_says_so():
    bare = dataclasses.replace(attacked(), task=dataclasses.replace(task(), source=UserPictures("", (1, 28, 28))))
    assert no_pictures(bare) == "No pictures of “3” ship with mnist-ddpm, and the run was given none."
    assert pictures_of_others(bare.task, 9) is None
    assert fitting(bare) == {}


def test_other_things_come_one_of_each_class_in_turn():
    others = pictures_of_others(task(), 9).images
    seen = task().judge.judge(others)[0].argmax(1).tolist()
    assert seen == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_several_classes_all_have_pictures():
    digits = task(forget="3, 8")
    its = run_to_end(pictures_of_it(digits, 10)).images
    assert sorted(digits.judge.judge(its)[0].argmax(1).tolist()) == [3] * 5 + [8] * 5
    assert len(run_to_end(pictures_of_it(task(), 10_000)).images) == 500


def test_parts_of_a_sentence():
    assert and_list(["a"]) == "a"
    assert and_list(["a", "b", "c"]) == "a, b and c"
