"""DNG: the guided prediction against Bayes' rule, in every kind of network output; a run leaves the weights as they were."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import LIGHT
from line import line_batch

from vdu import losses
from vdu.cli import main
from vdu.errors import UserError
from vdu.events import Finished, Measured, Preview, StepTaken
from vdu.experiments import go_further
from vdu.export import write_run, zip_model
from vdu.methods import METHODS
from vdu.models import FULL_SIZE, SMALL, UNCONDITIONAL
from vdu.models.guidance import Guidance
from vdu.noised_classifier import NoisedClassifier
from vdu.page import gpu
from vdu.page.panels.attack import attackable, words_html
from vdu.page.panels.publish import FILES
from vdu.page.view import live_view
from vdu.recipe import Recipe, resolve
from vdu.report import report_of
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample
from vdu.scale import set_weights_between
from vdu.summary import headline
from vdu.task import open_model

DNG = LIGHT | {"method": "dng", "forget": "3", "max_damage": 1.0}
pytest_plugins = ["page_states"]


def test_the_shift_is_bayes_rule_inside_the_window_and_nothing_outside():
    batch = line_batch(gamma=0.6)
    batch.window, batch.reach = (400, 900), 2.0
    states, t = batch.forget.states, torch.tensor([399, 400, 901])
    found = METHODS["dng"].guide(batch, None)(states, t)
    expected = losses.bayes_shift(states, batch.frozen.alpha_bar[t], batch.forget_set, batch.kept_set, 0.6)
    assert torch.equal(found[0], torch.zeros_like(found[0]))
    assert torch.equal(found[2], torch.zeros_like(found[2]))
    assert torch.allclose(found[1], 2 * expected[1])
    assert expected[1].abs().max() > 0


def test_photographs_take_the_shift_of_the_classifier():
    batch = line_batch(gamma=0.6)
    asked = []
    classifier = SimpleNamespace(shift=lambda states, t, gamma: asked.append(gamma) or (None, torch.ones_like(states)))
    assert isinstance(classifier.shift, type(NoisedClassifier.shift))
    found = METHODS["dng"].guide(batch, classifier)(batch.forget.states, batch.forget.t)
    assert torch.equal(found, torch.ones_like(found))
    assert asked == [0.6]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_change_of_the_noise_is_the_same_change_in_every_output(prediction):
    model, _, _ = open_model("mnist-ddpm", "cpu")
    scheduler = type(model.scheduler).from_config({**model.scheduler.config, "prediction_type": prediction})
    model = type(model)(model.unet, scheduler, "cpu", "")
    states, output, change = torch.randn((3, 2, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([100, 900])
    moved = model.noise_in(output + model.output_of(change, t), states, t) - model.noise_in(output, states, t)
    assert torch.allclose(moved, change, atol=1e-4)


def test_the_sampler_adds_the_guidance_and_its_strength_scales_with_the_way():
    model, _, _ = open_model("mnist-ddpm", "cpu")
    model.train_only("all")
    seeds, how = image_seeds(0, 2), HowToSample(3)
    plain, guided = run_to_end(sample(model, seeds, how)), model.clone()
    called = []

    def shift(states, t):
        called.append(t[0].item())
        return torch.ones_like(states)

    guided.guide = Guidance(shift)
    assert not torch.equal(run_to_end(sample(guided, seeds, how)), plain)
    assert len(called) == 3 * 2  # every step of every batch; two images are two batches
    set_weights_between(guided, model, guided, 0.0)
    assert torch.equal(run_to_end(sample(guided, seeds, how)), plain)
    guided.guide = Guidance(shift, 2.0)
    set_weights_between(model, model, guided, 1.5)
    assert model.guide.strength == 3.0


def test_a_run_changes_no_weight_leaves_no_model_and_says_so(finished_run, tmp_path, monkeypatch, panels):
    run, events = finished_run(**DNG)
    kinds = [type(event) for event in events if isinstance(event, Preview | StepTaken | Measured | Finished)]
    assert kinds == [Preview, Measured, StepTaken, Preview, Preview, Measured, Finished]
    assert [look.step for look in run.previews] == [0, 1]  # the last one after the strength was scaled
    start = dict(open_model("mnist-ddpm", "cpu")[0].unet.named_parameters())
    assert all(torch.equal(value, start[name]) for name, value in run.model.unet.named_parameters())
    assert not torch.equal(run.before.images, run.after.images)
    none, here = (run_to_end(go_further(run, factor)) for factor in (0.0, 1.0))
    assert torch.equal(none.images, run.previews[0].images)
    assert torch.equal(here.images, run.previews[-1].images)
    report = write_run(run, tmp_path / "run")
    assert "The weights are as they were" in headline(report)
    assert report["images_seen"]["retain_drawn"] > 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "after.png", "before.png", "previews", "report.json", "trajectory.csv",
    ]  # fmt: skip
    assert zip_model(tmp_path, report, tmp_path) == []
    view = live_view(run, report=report_of(run), finished=True)
    assert "leaves the weights as they were" in words_html(view)
    with pytest.raises(UserError, match="leaves the weights as they were"):
        attackable(SimpleNamespace(finished_run=run))
    updates = [*panels["Publish"].render(SimpleNamespace(files=("report", "sheet"))).values()]
    assert [update["interactive"] for update in updates] == [True, True, False]
    assert len(updates) == len(FILES)
    monkeypatch.setattr(gpu, "FORKED", lambda: None)
    with pytest.raises(UserError, match="dng draws only during runs"):
        gpu.check_drawing(run)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["attack", "--run"], "dng left the weights"),
        (["evaluate", "--forget", "3", "--model"], "holds a run without a model"),
        (["unlearn", "--forget", "3", "--model"], "holds a run without a model"),
    ],
)
def test_commands_refuse_a_folder_without_a_model(command, says, tmp_path, capsys):
    recipe = resolve(Recipe(method="dng"), UNCONDITIONAL).to_dict()
    (tmp_path / "report.json").write_text(json.dumps({"recipe": recipe}))
    assert main([*command, str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_it_is_refused_where_it_has_no_meaning():
    for kind in (SMALL, FULL_SIZE):
        with pytest.raises(UserError, match="Method dng cannot be used with a model that takes prompts"):
            resolve(Recipe(method="dng"), kind)
    for method, optimizer in (("dng", "adam"), ("dng", "closed-form"), ("vdu-f", "guidance"), ("uce", "guidance")):
        with pytest.raises(UserError, match=f"Method {method} takes (no )?steps"):
            Recipe(method=method, optimizer=optimizer)
