"""Stable Diffusion: large models in little memory, batches of the autoencoder, saved files."""

import pytest
import torch
from dummies import dummy_stable_diffusion
from safetensors.torch import load_file

from vdu.models import load_model
from vdu.sampling import HowToSample, image_seeds, run_to_end, sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a Stable Diffusion in sd/."""
    folder = tmp_path_factory.mktemp("models")
    dummy_stable_diffusion(folder / "sd")
    return folder


def test_a_large_model_is_held_in_half_and_what_is_trained_is_not(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    model = load_model(folder / "sd", large=8)
    assert model.unet.is_gradient_checkpointing
    model.train_only("cross-attention")
    for name, value in model.unet.named_parameters():
        assert value.dtype == (torch.float32 if ".attn2." in name else torch.bfloat16)
    assert {value.dtype for value in (*model.vae.parameters(), *model.text_encoder.parameters())} == {torch.bfloat16}
    states, t = torch.randn(2, *model.shape), torch.tensor([10, 500])
    told = model.conditions(["a dog", None])
    model.predict_noise(states, t, told).square().mean().backward()
    assert all(value.grad is not None for value in model.trained.values())
    plain = load_model(folder / "sd")
    with torch.no_grad():
        error = model.predict_noise(states, t, told) - plain.predict_noise(states, t, plain.conditions(["a dog", None]))
    assert error.abs().mean() < 0.05
    # What was fixed is saved as precisely as it was, what was trained as it is.
    with torch.no_grad():
        for value in model.trained.values():
            value += 1
    model.save(tmp_path / "saved")
    first, second = (
        load_file(path / "unet/diffusion_pytorch_model.safetensors") for path in (folder / "sd", tmp_path / "saved")
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value + 1 if ".attn2." in name else value)


def test_keys_and_values_are_the_matrices_that_multiply_the_prompt(folder):
    model = load_model(folder / "sd")
    width = model.text_encoder.config.hidden_size
    model.train_only("keys-values")
    assert {value.shape[1] for value in model.trained.values()} == {width}
    blocks = {name.rpartition(".attn2.")[0] for name, _ in model.unet.named_parameters() if ".attn2." in name}
    assert len(model.trained) == 2 * len(blocks)


def test_checkpointed_gradients_are_the_same(folder):
    gradients = []
    for checkpointing in (False, True):
        model = load_model(folder / "sd")
        if checkpointing:
            model.unet.enable_gradient_checkpointing()
        states = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
        model.predict_noise(states, torch.tensor([10, 500]), model.conditions(["a", "b"])).square().mean().backward()
        gradients.append(torch.cat([value.grad.flatten() for value in model.trained.values() if value.grad is not None]))
    torch.testing.assert_close(*gradients)


def test_images_do_not_depend_on_how_many_fit_in_memory(folder, monkeypatch):
    model = load_model(folder / "sd")
    whole = run_to_end(sample(model, image_seeds(0, 5), HowToSample(2, "ode", 2.0), ["a"] * 5))
    monkeypatch.setattr("vdu.sampling.BATCH_NUMBERS", 2 * 256)
    monkeypatch.setattr("vdu.models.stable_diffusion.VAE_NUMBERS", 1)
    torch.testing.assert_close(
        run_to_end(sample(model, image_seeds(0, 5), HowToSample(2, "ode", 2.0), ["a"] * 5)), whole, atol=1, rtol=0
    )
