"""Killed training resumes as if it had not been killed."""

import json
from types import SimpleNamespace

import pytest
import torch

from vdu.errors import UserError
from vdu.models import from_uint8
from vdu.pretrain import fashion, latent_diffusion, loop, tiny_sd
from vdu.pretrain.ddpm import TrainingConfig, beta_quantile, train
from vdu.pretrain.loop import load_state
from vdu.pretrain.teachers import Autoguidance, ExactAtHighNoise

UNET = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (4, 8),
        "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "norm_num_groups": 2,
        "attention_head_dim": 4}  # fmt: skip
CONFIG = TrainingConfig(unet=UNET, steps=6, batch_size=4, warmup=2, constant_from=0.5, snapshots=2)


@pytest.fixture
def images():
    return torch.randint(0, 256, (16, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_killed_run_continues_exactly(images, tmp_path, monkeypatch):
    train(images, CONFIG, tmp_path / "whole", save_every=3)

    class Killed(Exception):
        pass

    def die(config, work, done, *_):
        if done == 3:
            raise Killed

    monkeypatch.setattr(loop, "log", die)
    with pytest.raises(Killed):
        train(images, CONFIG, tmp_path / "killed", save_every=3)
    monkeypatch.undo()
    train(images, CONFIG, tmp_path / "killed", save_every=3)
    whole, killed = (load_state(tmp_path / name / "state.safetensors")[1] for name in ("whole", "killed"))
    for group in ("model", "ema", "exp_avg", "exp_avg_sq"):
        for name, value in whole[group].items():
            assert torch.equal(value, killed[group][name]), (group, name)


def test_a_folder_of_another_run_is_refused(images, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"steps": 1}))
    with pytest.raises(ValueError, match="other settings"):
        train(images, CONFIG, tmp_path)


def test_a_run_that_comes_apart_leaves_what_there_was(images, tmp_path):
    def teacher(noisy, t, noise):
        teacher.step += 1
        return noise if teacher.step <= 4 else noise * float("nan")

    teacher.step = 0
    with pytest.raises(UserError, match="the loss at step 6 is not finite"):
        train(images, CONFIG, tmp_path, save_every=3, teacher=teacher)
    step, state = load_state(tmp_path / "state.safetensors")
    assert step == 3
    assert all(value.isfinite().all() for value in state["model"].values())


def test_beta_quantiles_against_the_closed_form():
    uniform = torch.tensor([0.01, 0.25, 0.5, 0.9])
    torch.testing.assert_close(beta_quantile(2.0, 1.0)(uniform), uniform.sqrt(), atol=2e-4, rtol=0)


def test_autoguidance_leads_away_from_the_weaker_model_inside_its_interval():
    good, weak = (lambda x, t, value=value: SimpleNamespace(sample=torch.full_like(x, value)) for value in (1.0, 0.5))
    guide = Autoguidance(good, weak, strength=3.0, interval=(100, 200, 500, 700))
    t = torch.tensor([50, 150, 300, 600, 900])
    expected = torch.tensor([1.0, 1.5, 2.0, 1.5, 1.0])  # 1 + (3 - 1) * inside * (1 - 0.5)
    torch.testing.assert_close(guide(torch.zeros(5, 1, 2, 2), t, torch.zeros(5, 1, 2, 2))[:, 0, 0, 0], expected)


def test_the_exact_teacher_speaks_at_high_noise_only():
    one, alpha_bar = torch.full((1, 1, 2, 2), 0.5), torch.full((1000,), 0.36)
    teacher = ExactAtHighNoise(one, alpha_bar, lambda x, t, noise: torch.full_like(x, 7.0))
    noise = torch.randn((3, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    told = teacher(0.6 * one + 0.8 * noise, torch.tensor([100, 550, 900]), noise)
    torch.testing.assert_close(told[1:], noise[1:])
    assert (told[0] == 7).all()


def test_a_taught_run_learns_what_the_teacher_says(images, tmp_path):
    config = TrainingConfig(unet=UNET, steps=150, batch_size=8, warmup=5, peak_rate=3e-3, constant_from=0.9, snapshots=2)
    train(images, config, tmp_path, save_every=50, teacher=lambda x, t, noise: torch.full_like(x, 0.25))
    losses = [float(line.split(",")[1]) for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert losses[-1] < 0.01  # the noise itself could not be learned to anywhere near this


def test_a_tokenizer_is_the_same_every_time_and_knows_its_words():
    first, second = (latent_diffusion.make_tokenizer(tiny_sd.DESIGN) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert all(len(first(word).input_ids) == 3 for word in fashion.vocabulary() if "-" not in word)


def test_standard_latents_decode_to_the_same_pictures():
    network = latent_diffusion.make_autoencoder(tiny_sd.DESIGN).eval()
    pictures = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = from_uint8(pictures)
    with torch.no_grad():
        before = network.encode(batch).latent_dist
        decoded = network.decode(before.mean).sample
        latent_diffusion.standardise(network, pictures)
        after = network.encode(batch).latent_dist
        torch.testing.assert_close(network.decode(after.mean).sample, decoded, atol=1e-3, rtol=1e-3)
    deviation = before.mean.std((0, 2, 3)).view(1, -1, 1, 1)
    torch.testing.assert_close(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=0.05, rtol=0)
    torch.testing.assert_close(after.std, before.std / deviation, rtol=0.05, atol=1e-6)


def test_paint_dyes_the_garment_and_leaves_the_ground():
    grey = torch.zeros((1, 1, 28, 28), dtype=torch.uint8)
    grey[:, :, 10:20, 10:20] = 255
    painted = fashion.paint(grey, torch.tensor([[0.0, 1.0, 0.0]]), torch.ones((1, 3)))[0]
    assert painted[:, 0, 0].tolist() == [1, 1, 1]
    assert painted[:, 16, 16].tolist() == [-1, 1, -1]


def test_captions_say_what_is_to_be_seen_and_some_pairs_are_never_shown():
    grey, labels = torch.zeros((2000, 1, 28, 28), dtype=torch.uint8), torch.arange(2000) % 10
    shown = fashion.pictures(grey, labels, seed=0)
    names, colours = list(fashion.GARMENTS), list(fashion.COLOURS)
    pairs = {(colours[colour], names[garment]) for colour, garment in zip(shown.colours, shown.garments, strict=True)}
    assert not pairs & {*fashion.HELD_OUT}
    assert len(pairs) == 80 - len(fashion.HELD_OUT)
    for caption, garment, colour in zip(shown.captions, shown.garments, shown.colours, strict=True):
        words = caption.split()
        garments = [place for place, (name, others) in enumerate(fashion.GARMENTS.items()) if {name, *others} & {*words}]
        dyes = [place for place, (name, (_, others)) in enumerate(fashion.COLOURS.items()) if {name, *others} & {*words}]
        assert garments in ([], [garment])
        assert dyes in ([], [colour])
        assert garments or dyes
