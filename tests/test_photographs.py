"""Unlearning a shipped model of photographs with a user's own pictures."""

from conftest import carry_out
from pictures_of_ships import of_class, save


def test_a_run_goes_by_a_users_own_pictures(tmp_path, quick_layers):
    own = save(of_class("ship")[:4], tmp_path / "own")
    quick = {"replay": 24, "samples": 50, "sampler_steps": 2, "steps": 2, "preview_every": 2, "batch_size": 2}
    run, _ = carry_out(model="cifar10-ddpm", forget="ship", pictures=own, **quick)
    assert run.after is not None
    assert len(run.steps) == 2
    assert (run.recipe.method, run.recipe.posterior) == ("vdu", "layers")
    assert run.images_seen["forget_real"] == 4
