"""Text to image: prompts, captions, what to predict without a word, and the tiny Stable Diffusion end to end."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import QUICK, line_context
from diffusers import DDPMScheduler, StableDiffusionPipeline
from huggingface_hub import ModelCard
from vdu.entries import EARLIER, INSTEAD, KEPT, MEASURED, PARAPHRASE, TARGET, UNPROMPTED
from vdu.measure import Samples, come_back, draw, figures_of, obedience

from vdu.batches import batches, replaced
from vdu.catalog import CATALOG, open_model
from vdu.errors import UserError
from vdu.methods import METHODS, UNNAMED_ODDS
from vdu.models import DDPM, Condition, load_model
from vdu.recipe import Recipe
from vdu.replay import draw_replay
from vdu.report import CARD, headline, model_card, report_of, write_run
from vdu.sampling import HowToSample, drain, image_seeds, sample
from vdu.unlearn import Run, unlearn

ENTRY = CATALOG["tiny-sd"]
FEW = QUICK | {"model": "tiny-sd", "samples": 60, "sampler_steps": 3}


@pytest.fixture(scope="module")
def model():
    return open_model("tiny-sd", "cpu")[0]


def test_a_plan_asks_for_the_class_for_others_and_in_other_words():
    asks = ENTRY.plan("red", 50, MEASURED)
    assert asks[:10] == ENTRY.plan("red", 10, MEASURED)
    ((red,),) = ENTRY.wanted("red")
    heard = set(ENTRY.forget_set("red").captions)
    assert [ask.kind for ask in asks[: len(MEASURED)]] == list(MEASURED)
    for ask in asks:
        assert (red in ask.classes) == (ask.kind != KEPT)
        assert ("red" in ask.prompt.split()) == (ask.kind == TARGET) or ask.kind == PARAPHRASE
        if ask.kind == TARGET:
            assert "red" in ask.prompt.split()
        if ask.kind == PARAPHRASE:
            assert ask.prompt not in heard
    assert any("crimson" in ask.prompt for ask in asks)
    said = {kind: {ask.prompt for ask in asks if ask.kind == kind} for kind in (INSTEAD, UNPROMPTED)}
    assert said[UNPROMPTED] == {""}
    assert all(prompt.startswith("a photo of a ") for prompt in said[INSTEAD])
    assert len({ask.classes for ask in asks if ask.kind == TARGET}) == 10  # every garment


@pytest.mark.parametrize(
    ("said", "wanted"),
    [("red", "red"), ("Crimson", "red"), ("a crimson trainer", "red sneaker"), ("the blue bag", "blue bag")],
)
def test_a_concept_is_a_word_or_a_pair_by_any_of_its_names(said, wanted):
    assert ENTRY.shown(said) == wanted
    those = ENTRY.forget_set(said)
    assert len(those.images) == 16 * {1: 10, 2: 1}[len(wanted.split())]
    assert all(set(wanted.split()) <= set(caption.split()) for caption in those.captions)


@pytest.mark.parametrize("said", ["", "a dog", "red and blue", "red sneaker boot"])
def test_what_is_not_one_thing_is_refused(said):
    with pytest.raises(UserError, match="is not one thing that tiny-sd draws"):
        ENTRY.concept(said)


def test_prompts_of_ones_own_are_kept_and_measured():
    entry = replace(ENTRY, keep=("a blue trainer", "crimson"))
    with pytest.raises(UserError, match="'crimson' cannot be kept while 'red'"):
        entry.plan("red", 9)
    asks = [ask for ask in entry.plan("red sneaker", 4 * len(MEASURED), MEASURED) if ask.kind == KEPT]
    mine = [ask for ask in asks if ask.prompt in entry.keep]
    assert 2 * len(mine) == len(asks)
    assert {tuple(entry.classes[row] if row >= 0 else None for row in ask.classes) for ask in mine} == {
        ("sneaker", "blue"), (None, "red")}  # fmt: skip


def test_what_was_forgotten_before_is_asked_for_again():
    entry = replace(ENTRY, forgotten=("red", "blue sneaker"))
    kinds = entry.measured("boot")
    asks = entry.plan("boot", 10 * len(kinds), kinds)
    again = [ask for ask in asks if ask.kind == EARLIER]
    assert 7 * len(again) == len(asks)
    said = [{entry.classes[row] for row in ask.classes} for ask in again]
    assert all(("red" in words) != (words == {"blue", "sneaker"}) and "boot" not in words for words in said)
    assert sum("red" in words for words in said) == len(said) / 2
    # Of a class that is asked for in these samples: shown by every other one of the red, by none of the blue sneakers.
    classes = torch.tensor([ask.classes for ask in asks])
    boot, blue = entry.classes.index("boot"), entry.classes.index("blue")
    hidden = torch.tensor([place % 4 == 0 or "red" not in words for place, words in enumerate(said)])
    rows = torch.tensor([ask.kind == EARLIER for ask in asks]).nonzero()[:, 0]
    classes[rows[hidden]] = torch.tensor([boot, blue])
    nothing = torch.zeros(len(asks), 0)
    found = come_back(Samples(nothing, nothing, nothing, classes, tuple(asks)), entry)
    assert {name: rates["forget_rate"] for name, rates in found.items()} == {"red": 0.5, "blue sneaker": 0.0}
    assert entry.measured("red")[-1] == EARLIER  # the blue sneakers are left
    assert replace(ENTRY, forgotten=("red sneaker",)).measured("red") == MEASURED  # nothing of it is
    assert ENTRY.measured("boot") == MEASURED


def test_where_a_kept_prompt_leaves_the_colour_open_the_colour_cannot_be_wrong(model):
    entry = replace(ENTRY, keep=("a sneaker",))
    asks = [ask for ask in entry.plan("red", 60, MEASURED) if ask.kind in (KEPT, TARGET)]
    samples = drain(draw("sample", model, entry, image_seeds(0, len(asks)), Recipe.from_dict(FEW).how, asks))
    wanted, vague = entry.wanted("red"), torch.tensor([-1 in ask.classes for ask in asks])
    assert vague.any()
    assert not (samples.kept(wanted) & vague & samples.showing(wanted)).any()
    told = samples.of_kind(KEPT) & ~vague
    right = samples.classes[:, 1] == torch.tensor([ask.classes[1] for ask in asks])
    assert figures_of(samples, entry, "red")["ira"] == right[told].double().mean().item()


def test_what_the_model_draws_without_the_word_is_an_answer_to_the_word(model):
    recipe = Recipe.from_dict(FEW | {"forget": "red"})
    replay = drain(draw_replay(recipe, ENTRY, model))
    instead = replaced(replay)
    assert 0 < len(instead.images) <= int(replay.samples.of_kind(INSTEAD).sum())
    assert (ENTRY.judge(instead.images)[0][:, ENTRY.wanted("red")[0][0]] <= 0.5).all()
    for caption, neutral in zip(instead.captions, instead.neutral, strict=True):
        assert ENTRY.without(caption, "red") == neutral != caption
    batch = next(batches(recipe, ENTRY, replay, model, model, None))
    assert batch.forget.replaced.shape == (recipe.batch_size,)
    paper = Recipe.from_dict(FEW | {"forget": "red", "method": "vdu"})
    assert not next(batches(paper, ENTRY, replay, model, model, None)).forget.replaced.any()


@pytest.mark.parametrize("forget", ["sneaker", "red", "t-shirt"])
def test_forget_captions_name_the_class_and_neutral_ones_do_not(forget):
    those = ENTRY.forget_set(forget)
    (axis,) = ENTRY.named(forget)
    assert len(those.images) == len(those.captions) == len(those.neutral) >= 100
    for caption, neutral in zip(those.captions, those.neutral, strict=True):
        assert forget in caption.split()
        assert forget not in neutral.split()
        rest = [name for name in list(ENTRY.axes.values())[1 - axis] if name in caption.split()]
        assert rest == [word for word in neutral.split() if word in ENTRY.classes]
    probabilities, _ = ENTRY.judge(those.images)
    seen = probabilities[:, ENTRY.wanted(forget)[0][0]]
    assert seen.mean() > 0.75  # the pictures are of what their captions say


def test_every_word_is_one_token(model):
    words = {word for prompt in ENTRY.prompts for word in re.findall(r"[a-z]+", prompt)}
    assert all(len(model.tokenizer(word).input_ids) == 3 for word in words)
    assert len(model.tokenizer("a photo of an orange t-shirt on a black background").input_ids) <= 16


def test_models_of_one_name_share_what_they_do_not_train():
    untouched, mine, other = (open_model("tiny-sd", "cpu")[0] for _ in range(3))
    mine.train_only("cross-attention")
    other.train_only("cross-attention")
    with torch.no_grad():
        for value in mine.trained.values():
            value += 1
    places = [{name: value.data_ptr() for name, value in model.unet.named_parameters()} for model in (untouched, mine, other)]
    for name, value in untouched.unet.named_parameters():
        trained = ".attn2." in name
        assert len({place[name] for place in places}) == (3 if trained else 1)
        torch.testing.assert_close(dict(mine.unet.named_parameters())[name], value + trained)
        torch.testing.assert_close(dict(other.unet.named_parameters())[name].detach(), value)


def test_what_is_told_of_a_prompt_depends_on_it_alone(model):
    alone, among = model.conditions(["red sneaker"]), model.conditions(["blue bag", "red sneaker", ""])
    torch.testing.assert_close(alone["tokens"][0], among["tokens"][1])
    assert (among["tokens"][0] - among["tokens"][1]).abs().max() > 0.1
    assert torch.equal(model.conditions([None])["tokens"], model.conditions([""])["tokens"])


def test_latents_are_standard_and_decode_to_the_picture(model):
    images = ENTRY.forget_images("bag")
    latents = model.encode(images)
    assert latents.shape == (len(images), *model.shape)
    assert 0.3 < latents.std() < 2
    assert (model.decode(latents).int() - images.int()).abs().float().mean() < 12


def test_guidance_of_one_is_the_prompt_alone_and_image_k_does_not_depend_on_the_count(model):
    prompts = ["a photo of a red sneaker", "a photo of a blue bag"] * 2
    plain, guided = (drain(sample(model, image_seeds(1, 4), HowToSample(3, "sde", w), prompts)) for w in (1.0, 3.0))
    fewer = drain(sample(model, image_seeds(1, 2), HowToSample(3, "sde", 3.0), prompts[:2]))
    assert plain.shape == (4, 3, 32, 32)
    assert (plain.int() - guided.int()).abs().float().mean() > 1
    assert (guided[:2].int() - fewer.int()).abs().float().mean() < 2


def test_without_its_word_a_prompt_means_the_rest():
    """epsilon(rest) = P epsilon(word) + (1 - P) epsilon_r must be undone exactly by reach = P / (1 - P).

    Where the image is not of the class, there is nothing to undo: epsilon(rest) is the answer.
    """

    class Worded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = torch.nn.Parameter(torch.tensor(0.0))
            self.config = SimpleNamespace(sample_size=2, in_channels=1)

        def forward(self, noisy, t, condition):
            return SimpleNamespace(sample=condition.view(-1, 1, 1, 1).expand_as(noisy) + self.theta)

    class Told(DDPM):
        takes_prompts = True

        def predict_noise(self, noisy, t, condition):
            return self.unet(noisy, t, condition["word"]).sample

    def told(value):
        return Condition({"word": torch.full((3,), value)})

    context, share, word, rest = line_context(gamma=0.25), 0.2, 5.0, -1.0
    context.model = Told(Worded(), DDPMScheduler(), "cpu", "told")
    context.frozen = context.model.clone()
    context.forget.caption, context.forget.condition = told(word), told(word)
    neutral = share * word + (1 - share) * rest
    context.forget.neutral = told(neutral)
    context.forget.named, context.forget.replaced = torch.tensor([True, True, True]), torch.tensor([False, True, False])
    context.replay.condition = told(2.0)
    context.reach, context.window, context.weight = share / (1 - share), (0, 500), torch.ones(3)
    loss = METHODS["vdu-f"].terms(context).loss
    # The batch has t = 10, 400, 900: the last lies outside of the window, where nothing is to change.
    from vdu.losses import clean_image_weights

    weights = clean_image_weights(context.frozen.alpha_bar[context.forget.t])
    expected = 0.75 / 3 * (weights[0] * (word - rest) ** 2 + weights[1] * (word - neutral) ** 2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    # Asked without the word, the odds are larger.
    context.forget.named[0], context.forget.condition["word"][0] = False, neutral
    loss = METHODS["vdu-f"].terms(context).loss
    unnamed = UNNAMED_ODDS * context.reach * (neutral - word)
    expected = 0.75 / 3 * (weights[0] * unnamed**2 + weights[1] * (word - neutral) ** 2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_obedience_counts_by_hand(model):
    samples = drain(draw("sample", model, ENTRY, image_seeds(0, 5), HowToSample(2), ENTRY.plan("red", 5, MEASURED)))
    figures = obedience(samples, ENTRY.wanted("red"), ENTRY.named("red"))
    wanted = torch.tensor([ask.classes for ask in samples.asks])
    kept, target = samples.of_kind(KEPT), samples.of_kind(TARGET)
    assert figures["ira"] == (samples.classes[kept, 1] == wanted[kept, 1]).double().mean().item()
    assert figures["cra_target"] == (samples.classes[target, 0] == wanted[target, 0]).double().mean().item()


@pytest.mark.parametrize(
    "changes",
    [
        {"forget": "sneaker"},
        {"forget": "red", "parameters": "cross-attention"},
        {"forget": "boot", "method": "vdu", "posterior": "checkpoints"},
        {"forget": "pink", "method": "vdu", "optimizer": "one-step", "posterior": "isotropic", "gamma": 0.5},
        {"forget": "bag", "method": "neggrad", "forget_source": "model"},
    ],
)
def test_every_way_of_unlearning_works_on_words_too(changes, model, tmp_path):
    run = Run(Recipe.from_dict(FEW | changes))
    for _ in unlearn(run):
        pass
    report = report_of(run)
    for side in ("before", "after"):
        for key in ("forget_rate", "ira", "cra", "cra_target", "paraphrase_rate", "instead_rate", "unprompted_rate"):
            low, high = report[side][f"{key}_ci95"]
            assert low <= report[side][key] <= high
    assert f"“{changes['forget']}”" in headline(report)
    card = ModelCard(model_card(report))
    assert card.data.base_model is None
    assert "IRA" in card.text
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert measured == {key: report["after"][key] for key in CARD if key in report["after"]}
    if run.scale and changes.get("parameters") == "cross-attention":
        before = dict(model.unet.named_parameters())
        for name, value in run.model.unet.named_parameters():
            assert ".attn2." in name or torch.equal(value, before[name])


def test_what_is_left_loads_in_plain_diffusers_and_here(tmp_path):
    run = Run(Recipe.from_dict(FEW | {"forget": "sneaker"}))
    for _ in unlearn(run):
        pass
    write_run(run, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["forget"] == "sneaker"
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "unlearned", use_safetensors=True)
    picture = pipeline("a photo of a red bag", num_inference_steps=2, output_type="np").images[0]
    assert picture.shape == (32, 32, 3)
    again, entry = open_model(str(tmp_path / "run"), "cpu")
    assert entry.name == "tiny-sd"
    for name, value in again.unet.named_parameters():
        torch.testing.assert_close(value, dict(run.model.unet.named_parameters())[name])


def test_a_model_that_takes_no_words_has_no_cross_attention():
    with pytest.raises(UserError, match="no cross-attention parameters"):
        for _ in unlearn(Run(Recipe.from_dict(QUICK | {"parameters": "cross-attention"}))):
            pass


def test_a_folder_without_its_parts_is_refused_by_name(tmp_path):
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"]})
    )
    with pytest.raises(UserError, match=r"has no unet/diffusion_pytorch_model\.safetensors"):
        load_model(tmp_path)


def test_several_colours_are_any_of_them_each_with_its_own_synonyms():
    red, blue = (ENTRY.wanted(colour)[0] for colour in ("red", "blue"))
    assert ENTRY.wanted("crimson, blue + red") == (red, blue)
    assert ENTRY.shown("red, blue") == "red or blue"
    assert not {"red", "blue"} & {*ENTRY.others("red, blue")}
    asks = ENTRY.plan("red, blue", 400, MEASURED)
    of_either = [set(red + blue) & {*ask.classes} for ask in asks]
    assert all(bool(found) == (ask.kind != KEPT) for ask, found in zip(asks, of_either, strict=True))
    said = {"red": ENTRY.words["synonyms"]["red"], "blue": ENTRY.words["synonyms"]["blue"]}
    for ask, found in zip(asks, of_either, strict=True):
        if ask.kind == PARAPHRASE:
            (colour,) = (ENTRY.classes[row] for row in found)
            assert {colour, *said[colour]} & {*ask.prompt.split()}
    assert len({caption.split()[-2] for caption in ENTRY.forget_set("red, blue").captions}) >= 2
    with pytest.raises(UserError, match="mixes garment and colour"):
        ENTRY.plan("red, sneaker", 1)


def test_what_was_forgotten_before_is_not_asked_to_stay():
    entry, blue = replace(ENTRY, forgotten=("blue",)), ENTRY.wanted("blue")[0][0]
    assert any(blue in ask.classes for ask in ENTRY.plan("red", 200) if ask.kind == KEPT)
    assert not any(blue in ask.classes for ask in entry.plan("red", 200) if ask.kind == KEPT)
