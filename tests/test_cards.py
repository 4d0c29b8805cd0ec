"""Model cards: what the hub reads of them, of the models that ship and of what a run leaves."""

import ast
import json
import re
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard, ModelCardData

from vdu import cards
from vdu.catalog import CATALOG, CIFAR10, ENTRIES, TINY_IMAGENET
from vdu.export import model_card
from vdu.pretrain import cifar10_sd, mnist, photographs, tiny_sd
from vdu.report import report_of

SHIPPED = {
    "mnist-ddpm": mnist.card,
    "tiny-sd": tiny_sd.card,
    "cifar10-sd": cifar10_sd.card,
    "cifar10-ddpm": lambda figures: photographs.card(figures, "cifar10-ddpm", list(CIFAR10)),
    "tiny-imagenet-ddpm": lambda figures: photographs.judge_card(figures, "tiny-imagenet-ddpm", list(TINY_IMAGENET)),
}


def report(model="mnist-ddpm", **changes):
    """A report with two figures."""
    before = {"forget_rate": 0.5, "forget_rate_ci95": (0.25, 0.75), "ira": 1.0, "ira_ci95": (0.5, 1.0)}
    return {
        "model": model, "forget": "a: b\n# c", "forgotten": [], "method": "esd", "earlier": [], "seed": 7, "samples": 1234,
        "before": before, "after": before | {"forget_rate": 0.0}, "steps_taken": 3, "scale": 0.5, "stopped_because": "done",
    } | changes  # fmt: skip


def card_of(report, folder=None, takes_prompts=False, variant=""):
    """The card of an unlearned model that came from a folder."""
    return ModelCard(model_card(report, SimpleNamespace(folder=folder, takes_prompts=takes_prompts, variant=variant)))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_cards_that_ship_are_those_of_their_figures(entry):
    figures = json.loads((entry.folder / "figures.json").read_text())
    path = entry.folder / "README.md"
    assert path.read_text(encoding="utf-8") == SHIPPED[entry.name](figures)
    data = ModelCard.load(path).data
    assert data.license == "mit"
    assert data.tags
    assert data.model_name == entry.name
    task = cards.PROMPTED if entry.takes_prompts else cards.UNPROMPTED
    means = (task, "diffusers") if entry.name in CATALOG else (cards.JUDGE, "pytorch")
    assert (data.pipeline_tag, data.library_name) == means
    measured = {result.metric_type: result.metric_value for result in data.eval_results}
    assert measured
    assert measured.items() <= (figures | {"accuracy": figures.get("classifier_accuracy")}).items()


def test_the_hub_reads_back_what_was_written():
    results = [
        *cards.scores(cards.UNPROMPTED, cards.own_samples(1000), [("fid", "A: b # “c”", 0.1 + 0.2), ("loss", "Loss", 1e-7)]),
        *cards.scores(cards.JUDGE, ("ylecun/mnist", "MNIST"), [("accuracy", "Accuracy", 0.5)]),
    ]
    data = cards.card_data(cards.UNPROMPTED, "name", results, license="mit", tags=["a", "b"])
    values = {"title": "T", "method": "M", "report": report(), "lines": ["one", "two"]}
    card = ModelCard(cards.card("unlearned", data, **values))
    assert card.data.to_dict() == data.to_dict()
    assert card.data.eval_results == results
    assert ModelCardData(**card.data.to_dict()).eval_results == results
    assert "\n\n- one\n- two\n\nLicence: that of the base model, mit.\n" in str(card)


@pytest.mark.parametrize("takes_prompts", [False, True])
def test_an_unlearned_model_of_the_catalog_has_its_licence_and_names_it(takes_prompts):
    data = card_of(report(), CATALOG["mnist-ddpm"].folder, takes_prompts).data
    assert (data.license, data.base_model, data.library_name) == ("mit", "mnist-ddpm", "diffusers")
    assert data.pipeline_tag == (cards.PROMPTED if takes_prompts else cards.UNPROMPTED)
    assert data.tags == ["unlearning", "esd", "arxiv:2303.07345"]  # the hub links the paper
    assert data.model_name == "mnist-ddpm without a: b\n# c"
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {"forget_rate": 0.0, "ira": 1.0}
    assert {result.dataset_name for result in data.eval_results} == {"1,234 samples of the model itself"}


@pytest.mark.parametrize("head", [None, "no head", "---\n[1, 2]\n---\n", "---\na: [\n---\n", "---\nlicense: [mit]\n---\n"])
def test_a_licence_that_is_not_known_is_left_out_and_said_to_be_the_base_models(tmp_path, head):
    if head:
        (tmp_path / "README.md").write_text(head)
    card = card_of(report("owner/name"), tmp_path)
    assert (card.data.license, card.data.base_model) == (None, "owner/name")
    assert "The licence of the base model applies" in card.text


def test_a_folder_passes_its_licence_on_and_is_no_model_of_the_hub(tmp_path):
    head = "---\nlicense: other\nlicense_name: mine\nlicense_link: https://example.org\nbase_model: a/b\n---\n"
    (tmp_path / "README.md").write_text(head)
    card = card_of(report(str(tmp_path / "mnist-ddpm")), tmp_path)
    assert (card.data.license, card.data.license_name, card.data.license_link) == ("other", "mine", "https://example.org")
    assert card.data.base_model is None
    assert str(tmp_path) not in str(card)
    assert "Licence: that of the base model, mine." in card.text


def test_a_run_that_measured_nothing_claims_nothing():
    card = card_of(report(before=None, after=None))
    assert card.data.eval_results is None
    assert "Measured" not in card.text


def test_the_card_a_run_leaves_has_the_figures_of_its_report(finished_run):
    run, _ = finished_run()
    written, card = report_of(run), ModelCard(model_card(report_of(run), run.model))
    assert (card.data.license, card.data.base_model, card.data.pipeline_tag) == ("mit", "mnist-ddpm", cards.UNPROMPTED)
    for result in card.data.eval_results:
        assert result.metric_value == written["after"][result.metric_type]
    assert {"forget_rate", "retain_fid"} <= {result.metric_type for result in card.data.eval_results}


def test_the_card_says_how_others_score_a_model_that_they_can_load(tmp_path):
    (tmp_path / "model_index.json").write_text((CATALOG["tiny-sd"].folder / "model_index.json").read_text())
    text = card_of(report(), tmp_path, takes_prompts=True).text
    assert text.count("free_run") == 1
    assert "\n\nThe licence of the base model applies" in text
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert [ast.literal_eval(value) for value in calls[1].args] == ["free_run", "clip_score", {"model_id": "FOLDER"}]
    assert "free_run" not in card_of(report(), tmp_path, takes_prompts=False).text  # it draws from no prompt
    assert "free_run" not in card_of(report(), tmp_path, takes_prompts=True, variant="fp16").text  # which is not asked for
    index = (tmp_path / "model_index.json").read_text().replace("DiffusionPipeline", "DiffusionImg2ImgPipeline")
    (tmp_path / "model_index.json").write_text(index)
    assert "free_run" not in card_of(report(), tmp_path, takes_prompts=True).text  # it needs a picture too
