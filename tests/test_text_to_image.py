"""Full runs on the shipped tiny Stable Diffusion: figures, card and folder of every method."""

import json

import pytest
import torch
from conftest import QUICK_PROMPTS
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard

from vdu.concepts.base import KEPT, MEASURED_KINDS, TARGET
from vdu.export import model_card, write_run
from vdu.metrics import table_metrics
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.samples import draw
from vdu.sampling import HowToSample, image_seeds, run_to_end
from vdu.summary import headline
from vdu.task import open_model, open_task


def asked(count, kinds=MEASURED_KINDS, **request):
    """A task and its untouched model's samples, for the first prompts of some kinds."""
    task = open_task(Recipe(**{"model": "tiny-sd", "forget": "red"} | request))
    specs = [spec for spec in task.concept.plan(count, MEASURED_KINDS) if spec.kind in kinds]
    seeds = image_seeds(0, len(specs))
    return task, run_to_end(draw("sample", task.model, task.judge, seeds, HowToSample(3, "ode", 3.0), specs))


def test_where_a_kept_prompt_leaves_the_colour_open_the_colour_cannot_be_wrong():
    task, samples = asked(60, (KEPT, TARGET), keep="a sneaker")
    wanted, vague = task.concept.class_sets, torch.tensor([-1 in spec.classes for spec in samples.specs])
    assert vague.any()
    assert not (samples.kept(wanted) & vague & samples.showing(wanted)).any()
    told = samples.of_kind(KEPT) & ~vague
    right = samples.classes[:, 1] == torch.tensor([spec.classes[1] for spec in samples.specs])
    assert task.measure(samples)["ira"] == right[told].double().mean().item()


def test_obedience_counts_by_hand():
    task, samples = asked(5)
    figures = task.measure(samples)
    wanted = torch.tensor([spec.classes for spec in samples.specs])
    kept, target = samples.of_kind(KEPT), samples.of_kind(TARGET)
    assert figures["ira"] == (samples.classes[kept, 1] == wanted[kept, 1]).double().mean().item()
    assert figures["cra_target"] == (samples.classes[target, 0] == wanted[target, 0]).double().mean().item()


@pytest.mark.parametrize(
    "changes",
    [
        {"forget": "sneaker"},
        {"forget": "red", "parameters": "cross-attention", "target": 0.0, "max_damage": 1.0},
        {"forget": "boot", "method": "vdu", "posterior": "checkpoints", "guidance": 1.0},
        {"forget": "pink", "method": "vdu", "optimizer": "one-step", "posterior": "isotropic", "gamma": 0.5, "guidance": 1.0},
        {"forget": "pink", "method": "neggrad", "forget_source": "model", "guidance": 1.0},
    ],
)
def test_every_way_of_unlearning_works_on_words_too(changes, finished_run):
    run, _ = finished_run(**QUICK_PROMPTS, **changes)
    report = report_of(run)
    for side in ("before", "after"):
        for key in ("forget_rate", "ira", "cra", "cra_target", "paraphrase_rate", "instead_rate", "unprompted_rate"):
            low, high = report[side][f"{key}_ci95"]
            assert low <= report[side][key] <= high
    assert f"“{changes['forget']}”" in headline(report)
    card = ModelCard(model_card(report, run.model))
    assert (card.data.base_model, card.data.pipeline_tag) == ("tiny-sd", "text-to-image")
    assert "IRA" in card.text
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    after = report["after"]
    assert measured == {row.key: after[row.key] for row in table_metrics() if after.get(row.key) is not None}
    assert {"ira", "cra", "forget_rate"} <= measured.keys()
    if run.scale and changes.get("parameters") == "cross-attention":
        before = dict(open_model("tiny-sd", "cpu")[0].unet.named_parameters())
        for name, value in run.model.unet.named_parameters():
            assert ".attn2." in name or torch.equal(value, before[name])


def test_what_is_left_loads_in_plain_diffusers_and_here(finished_run, tmp_path):
    run, _ = finished_run(**QUICK_PROMPTS, forget="sneaker")
    write_run(run, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["forget"] == "sneaker"
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "unlearned", use_safetensors=True)
    picture = pipeline("a photo of a red bag", num_inference_steps=2, output_type="np").images[0]
    assert picture.shape == (32, 32, 3)
    assert "free_run" in (tmp_path / "run" / "unlearned" / "README.md").read_text(encoding="utf-8")
    task = open_task(Recipe(model=str(tmp_path / "run"), forget="red"))
    assert task.judge.digest == task.concept.model == "tiny-sd"
    assert task.concept.forgotten == (("sneaker",) if run.scale else ())
    for name, value in task.model.unet.named_parameters():
        torch.testing.assert_close(value, dict(run.model.unet.named_parameters())[name])
