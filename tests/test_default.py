"""What a user gets who changes nothing but what to forget."""

import pytest

from vdu.intervals import wilson
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.run import Run
from vdu.sampling import run_to_end
from vdu.unlearn import unlearn

SAMPLES = 1000


@pytest.mark.slow
def test_the_default_recipe_forgets_and_keeps_the_rest():
    run = Run(Recipe(forget="3", samples=SAMPLES))
    run_to_end(unlearn(run))
    before, after = (report_of(run)[side] for side in ("before", "after"))
    least, most = before["forget_rate_ci95"][0], after["forget_rate_ci95"][1]
    assert (least, most) == (wilson(*counts_of(before))[0], wilson(*counts_of(after))[1])
    assert least > 3 * most
    assert after["retain_fid"] < 2 * before["retain_fid"]
    assert after["least_retained_ratio"] > 0.3


def counts_of(figures):
    """How many samples show the digit, of how many."""
    return round(figures["forget_rate"] * figures["target_samples"]), figures["target_samples"]
