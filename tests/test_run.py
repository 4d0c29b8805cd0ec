"""The record of a run: its figures, the images its method saw, and its previews."""

import pytest
from conftest import QUICK

from vdu.errors import UserError
from vdu.events import Preview
from vdu.recipe import Recipe
from vdu.report import contents, portable, report_of
from vdu.run import STOPPED, Run

UNBOUND = {"max_damage": 1.0, "target": 0.0}


def test_a_new_run_holds_a_recipe_without_open_fields_and_nothing_else():
    run = Run(Recipe(**QUICK, method="neggrad"))
    assert None not in run.recipe.to_dict().values()
    assert (run.recipe.method, run.recipe.steps) == ("neggrad", QUICK["steps"])
    assert run.recipe is run.task.recipe
    assert (run.replay, run.before, run.after, run.posterior, run.estimation) == (None,) * 5
    assert (run.figures, run.images_seen, run.previews, run.steps, run.seconds) == ({}, {}, [], [], {})
    assert (run.scale, run.reason) == (1.0, STOPPED)


def test_only_what_looks_at_a_posterior_estimates_one():
    assert Run(Recipe(method="vdu")).estimation is not None  # the method does
    assert Run(Recipe(method="vdu-f")).estimation is None
    assert Run(Recipe(method="vdu-f", optimizer="natural")).estimation is not None  # the optimizer does


@pytest.mark.parametrize(
    ("values", "message"),
    [({"forget": "cat"}, "no class 'cat'"), ({"forget": ",".join("0123456789")}, "nothing would be left"),
     ({"model": "nowhere"}, "no model 'nowhere'"), ({"device": "cuda"}, "GPU|CUDA")],
)  # fmt: skip
def test_what_cannot_be_forgotten_is_refused_before_anything_is_drawn(values, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=message):
        Run(Recipe(**values))


@pytest.mark.parametrize("method", ["vdu-f", "vdu", "neggrad"])
def test_figures_and_what_was_seen_are_those_of_the_report(method, finished_run):
    run, _ = finished_run(method=method, **UNBOUND)
    report = report_of(run)
    assert run.figures.keys() == {"before", "after"}
    assert (report["before"], report["after"]) == (run.figures["before"], run.figures["after"])
    assert run.figures["before"]["forget_rate"] == run.before.showing(run.task.concept.class_sets).double().mean()
    uses_own = method == "vdu-f"
    assert run.images_seen == {
        "forget_real": 500,
        "forget_drawn": int(run.replay.of_class.sum()) if uses_own else 0,
        "neutral_drawn": 0,
        "retain_drawn": int(run.replay.kept.sum()) if uses_own else 0,
    }
    assert report["images_seen"] == run.images_seen
    assert {"replay", "sample", "unlearn", "evaluate"} <= run.seconds.keys()
    assert all(seconds > 0 for seconds in run.seconds.values())


def test_a_later_preview_of_a_step_takes_the_place_of_the_earlier(finished_run):
    run, _ = finished_run(**UNBOUND)
    other = Run(Recipe.from_dict(QUICK))
    other.replay, other.previews = run.replay, [run.previews[0]]
    drawn = run.replay.samples.at(run.replay.grid)
    first = other.keep_preview(drawn, 2)
    second = other.keep_preview(drawn, 2)
    assert isinstance(second, Preview)
    assert [id(look) for look in other.previews] == [id(run.previews[0]), id(second)]
    assert first is not second


def test_a_report_names_no_folders_of_this_machine_and_a_model_there_is_not_taken_for_a_shipped_one(tmp_path):
    paths = {name: str(tmp_path / name) for name in ("pictures", "keep", "judge")} | {"model": str(tmp_path / "mnist-ddpm")}
    kept = portable(Recipe.from_dict(paths))
    assert (kept["model"], kept["judge"], kept["pictures"], kept["keep"]) == ("./mnist-ddpm", "./judge", "pictures", "keep")
    assert str(tmp_path) not in str(kept)
    assert portable(Recipe(model="mnist-ddpm", pictures="mine/cats"))["pictures"] == "mine/cats"


def test_the_contents_of_a_local_judge_tell_folders_of_one_name_apart(tmp_path):
    for place in "ab":
        (tmp_path / place / "clip").mkdir(parents=True)
        (tmp_path / place / "clip" / "config.json").write_text(place)
    first, second = (contents(Recipe(model="tiny-sd", judge=str(tmp_path / place / "clip"))) for place in "ab")
    assert [*first] == [*second] == ["judge"]
    assert first != second
    assert contents(Recipe(model="tiny-sd", judge="nudenet")) == contents(Recipe(judge="pictures")) == {}


def test_the_contents_of_pictures_tell_folders_of_one_name_apart(tmp_path):
    for name, content in {"a": b"1", "b": b"2", "c": b"1"}.items():
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "x.png").write_bytes(content)
    a, b, c = (contents(Recipe(pictures=str(tmp_path / name))) for name in "abc")
    assert a == c != b
    assert [*a] == ["pictures"]
    assert contents(Recipe(model="tiny-sd", forget="red", keep="a blue bag; a pink dress", pictures="ylecun/mnist")) == {}
