"""Plain diffusers: its own pipelines draw the same, whatever the batch, and leave the folder's pipeline alone."""

import pytest
import torch

from vdu import stock
from vdu.catalog import CATALOG
from vdu.errors import UserError
from vdu.sampling import run_to_end
from vdu.stock import STOCK, draw_plain, half_precision, name_of, plain_pipeline, with_sampler


def quick(monkeypatch, sampler, steps):
    monkeypatch.setitem(STOCK, sampler, (STOCK[sampler][0], steps))


def test_an_image_is_that_of_diffusers_and_does_not_depend_on_the_batch(monkeypatch):
    quick(monkeypatch, "DDIM", 3)
    pipeline = plain_pipeline(CATALOG["mnist-ddpm"].folder)
    done: list[int] = []
    images = run_to_end(draw_plain(pipeline, "DDIM", [5, 6, 7], (1, 28, 28)), done.append)
    assert (images.shape, images.dtype, done[-1]) == ((3, 1, 28, 28), torch.uint8, 9)
    monkeypatch.setattr(stock, "BATCH", 1)
    again = run_to_end(draw_plain(pipeline, "DDIM", [5, 6, 7], (1, 28, 28)))
    assert (images.int() - again.int()).abs().max() <= 1
    from diffusers import DDIMPipeline

    plain = DDIMPipeline(pipeline.unet, with_sampler(pipeline, "DDIM").scheduler)
    plain.set_progress_bar_config(disable=True)
    theirs = plain(1, torch.Generator().manual_seed(5), num_inference_steps=3, output_type="np").images[0]
    assert abs(theirs[..., 0] * 255 - images[0, 0].numpy()).max() <= 1


def test_prompts_and_guidance_reach_the_pipeline(monkeypatch):
    quick(monkeypatch, "UniPC", 4)
    monkeypatch.setattr(stock, "PROMPTED_BATCH", 2)
    pipeline, before = plain_pipeline(CATALOG["tiny-sd"].folder), None
    for prompt, guidance in (("a red sneaker", 3.0), ("a blue sneaker", 3.0), ("a red sneaker", 1.0)):
        images = run_to_end(draw_plain(pipeline, "UniPC", [0, 1, 2], (1,), [prompt] * 3, guidance))
        assert images.shape[:2] == (3, 3)
        assert before is None or not torch.equal(images, before)
        before = images


def test_in_half_precision_all_weights_are_and_almost_the_same_is_drawn(monkeypatch):
    quick(monkeypatch, "Euler", 4)
    folder, images = CATALOG["mnist-ddpm"].folder, []
    for precision in (torch.float32, torch.bfloat16):
        pipeline = plain_pipeline(folder, precision=precision)
        assert {value.dtype for value in pipeline.unet.parameters()} == {precision}
        images.append(run_to_end(draw_plain(pipeline, "Euler", [5, 6], (1, 28, 28))).float())
    apart = (images[0] - images[1]).abs().mean()
    assert 0 < apart < 20  # of 255; images of two seeds differ by 30 or more


def test_half_precision_is_float16_on_a_gpu_and_on_a_cpu_only_what_it_computes_itself(monkeypatch):
    assert name_of(half_precision("cuda")) == "float16"
    monkeypatch.setattr(stock, "has_bfloat16", lambda device: True)
    assert name_of(half_precision("cpu")) == "bfloat16"
    monkeypatch.setattr(stock, "has_bfloat16", lambda device: False)
    assert half_precision("cpu") is None


def test_what_diffusers_cannot_load_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="diffusers could not load"):
        plain_pipeline(tmp_path)
