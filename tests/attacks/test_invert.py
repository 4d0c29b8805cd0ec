"""A word that is learned: which tokens it stands for, how prompts are read with it, and what it draws."""

import pytest
import torch
from attack_states import attacked, carry_out, task, values, zero

from vdu.attacks import ATTACKS, ORIGINAL, UNLEARNED, fitting, invert
from vdu.attacks.base import pictures_of_it
from vdu.attacks.invert import Word, learn, replaced
from vdu.sampling import run_to_end

ATTACK = ATTACKS["invert"]
GARMENTS = {"model": "tiny-sd", "forget": "red", "sampler_steps": 4}
PROMPT, NEUTRAL = "a photo of a red sneaker", "a photo of a sneaker"


@pytest.mark.parametrize(
    ("tokens", "others", "places"),
    [
        ([0, 5, 6, 1], [0, 6, 1], [1]),
        ([0, 5, 6, 7, 1], [0, 5, 1], [2, 3]),
        ([0, 5, 1], [0, 1], [1]),
        ([0, 5, 1], [0, 5, 1], []),
    ],
)
def test_it_stands_for_the_tokens_that_the_neutral_prompt_lacks(tokens, others, places):
    assert replaced(tokens, others) == places


def word_for_red() -> Word:
    model = task(**GARMENTS).model
    read = [model.tokens_of(text, model.tokenizer) for text in (PROMPT, NEUTRAL)]
    return Word(model, {PROMPT: replaced(*read)})


def test_a_word_with_the_vector_of_red_reads_as_red_and_leaves_the_model_alone():
    word, model = word_for_red(), task(**GARMENTS).model
    plain = model.encode_prompts([PROMPT])["tokens"]
    assert not torch.allclose(word.conditions([PROMPT])["tokens"], plain, atol=1e-3)
    (place,) = word.places[PROMPT]
    table = model.text_encoder.get_input_embeddings().weight
    with torch.no_grad():
        word.vectors[0] = table[model.tokens_of(PROMPT, model.tokenizer)[place]].float()
    assert torch.allclose(word.conditions([PROMPT])["tokens"], plain, atol=1e-5)
    taught = word.taught()
    assert torch.allclose(taught.conditions([PROMPT])["tokens"], plain, atol=1e-5)
    assert torch.allclose(taught.conditions([None])["tokens"], model.conditions([None])["tokens"], atol=1e-5)
    assert torch.equal(model.encode_prompts([PROMPT])["tokens"], plain)


def test_a_step_of_learning_moves_the_word_alone():
    opened = task(**GARMENTS)
    lesson = run_to_end(pictures_of_it(opened, 2))
    neutral = zip(lesson.captions, lesson.neutral, strict=True)
    model = opened.model
    tokens = {text: model.tokens_of(text, model.tokenizer) for text in {*lesson.captions, *lesson.neutral}}
    word = Word(model, {prompt: replaced(tokens[prompt], tokens[other]) for prompt, other in neutral})
    before = word.vectors.detach().clone()
    next(learn(word, lesson, seed=0))
    step = (word.vectors - before).abs().max().item()
    assert step == pytest.approx(word.optimizer.param_groups[0]["lr"], rel=0.01)  # Adam's first step
    assert all(parameter.grad is None for parameter in model.unet.parameters())


def test_every_model_is_asked_with_its_own_word(monkeypatch):
    monkeypatch.setattr(invert, "STEPS", (0, 2))
    given = attacked(images=8, **GARMENTS)
    assert "invert" in fitting(given)
    given.models[UNLEARNED] = zero(given.models[ORIGINAL])
    result, last = carry_out(ATTACK, given)
    assert last.done == last.total
    assert [(row.model, row.at, row.count) for row in result.rows] == [
        (ORIGINAL, 0, 8), (ORIGINAL, 2, 8), (UNLEARNED, 0, 8), (UNLEARNED, 2, 8),
    ]  # fmt: skip
    assert max(values(result, UNLEARNED)) < 0.5
    assert result.sentence.startswith("With a word learned in 2 steps from 8 pictures, “red” is drawn in")


def test_where_the_model_drew_the_pictures_they_have_captions_to_learn_from(monkeypatch):
    monkeypatch.setattr(invert, "STEPS", (0, 1))
    given = attacked(images=4, model="cifar10-sd", forget="cat", sampler_steps=2)
    assert "invert" in fitting(given)
    result, last = carry_out(ATTACK, given)
    assert last.done == last.total
    assert [row.count for row in result.rows] == [4] * 4


def test_without_prompts_there_is_no_word():
    assert ATTACK.misfit(attacked()) == "mnist-ddpm takes no prompts."
