"""Unlearning a model of photographs, judged by the shipped judge of its size, with a user's own pictures."""

from conftest import LIGHT, QUICK, carry_out
from dummies import dummy_ddpm
from pictures_of_ships import of_class, save

from vdu import noised_classifier
from vdu.methods import vdu_f


def test_a_run_goes_by_a_users_own_pictures(tmp_path, quick_layers):
    dummy_ddpm(tmp_path / "model")
    own = save(of_class("ship")[:4], tmp_path / "own")
    run, _ = carry_out(model=str(tmp_path / "model"), forget="ship", pictures=own, method="vdu", **QUICK)
    assert run.after is not None
    assert len(run.steps) == QUICK["steps"]
    assert (run.recipe.method, run.recipe.posterior) == ("vdu", "layers")
    assert run.images_seen["forget_real"] == 4


def test_vdu_f_asks_a_classifier_learned_in_the_run_what_a_photograph_shows(tmp_path, monkeypatch):
    learned, answers = [], []
    learn, answer = noised_classifier.learn, vdu_f.without_prompts

    def note_classifier(*given):
        learned.append((yield from learn(*given)))
        return learned[-1]

    def note_answer(batch, states, t, classifier):
        answers.append(classifier)
        return answer(batch, states, t, classifier)

    monkeypatch.setattr(noised_classifier, "LESSONS", 128)
    monkeypatch.setattr(vdu_f, "learn", note_classifier)
    monkeypatch.setattr(vdu_f, "without_prompts", note_answer)
    dummy_ddpm(tmp_path / "model")
    own = save(of_class("ship")[:4], tmp_path / "own")
    run, _ = carry_out(model=str(tmp_path / "model"), forget="ship", pictures=own, method="vdu-f", **LIGHT)
    assert len(run.steps) == LIGHT["steps"]
    assert len(learned) == 1
    assert {*map(id, answers)} == {id(learned[0])}

    answers.clear()
    carry_out(**LIGHT)  # of digits, whose pixels are compared
    assert {*answers} == {None}
