"""Models retrained without a word: what they are trained on, and what they are loaded as."""

from dataclasses import replace

from mnist_files import write_idx

from vdu.cli import main
from vdu.evaluation import open_alike
from vdu.models import load_model
from vdu.pretrain import fashion, latent_diffusion, tiny_sd
from vdu.recipe import Recipe
from vdu.task import open_task


def test_a_model_without_a_colour_never_sees_it_and_stands_beside_the_shipped_one(tmp_path, monkeypatch):
    seen = {}
    train = latent_diffusion.train_denoiser

    def watched(design, latents, captions, config, work, device):
        seen.update(latents=latents, captions=captions)
        return train(design, latents, captions, config, work, device)

    monkeypatch.setattr(latent_diffusion, "train_denoiser", watched)
    monkeypatch.setitem(tiny_sd.STAGES, "denoiser", replace(tiny_sd.STAGES["denoiser"], batch_size=4))
    command = [
        "pretrain",
        "retrained",
        "--without",
        "red",
        "--steps",
        "10",
        "--data",
        str(write_idx(tmp_path / "idx", each=20)),
    ]
    assert main([*command, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]) == 0
    red, others = ("red", *fashion.COLOURS["red"][1]), (" blue", " green", " cyan")
    assert len(seen["latents"]) == len(seen["captions"]) < 20 * 10 * 3
    assert not [caption for caption in seen["captions"] if {*caption.split()} & {*red}]
    assert all(any(word in f" {caption}" for caption in seen["captions"]) for word in others)
    model = load_model(tmp_path / "out" / "without-red")
    assert model.tokens_of("a red sneaker", model.tokenizer), "the tokenizer knows the word all the same"
    assert open_alike(str(tmp_path / "out" / "without-red"), open_task(Recipe(model="tiny-sd", forget="red"))).takes_prompts
