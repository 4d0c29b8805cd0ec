"""Unlearning a model of photographs, judged by the shipped judge of its size, with a user's own pictures."""

from conftest import QUICK, carry_out
from dummies import dummy_ddpm
from pictures_of_ships import of_class, save


def test_a_run_goes_by_a_users_own_pictures(tmp_path, quick_layers):
    dummy_ddpm(tmp_path / "model")
    own = save(of_class("ship")[:4], tmp_path / "own")
    run, _ = carry_out(model=str(tmp_path / "model"), forget="ship", pictures=own, **QUICK)
    assert run.after is not None
    assert len(run.steps) == QUICK["steps"]
    assert (run.recipe.method, run.recipe.posterior) == ("vdu", "layers")
    assert run.images_seen["forget_real"] == 4
