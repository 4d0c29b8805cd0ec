"""What is remembered of a model goes by everything that it depends on: after any edit, figures are those of a new process."""

import json
import os
import shutil
from typing import ClassVar

import pytest
import torch
from conftest import QUICK
from dummies import WEIGHTS, dummy_ddpm, dummy_stable_diffusion
from safetensors.torch import load_file, save_file

from vdu.catalog import CATALOG
from vdu.concepts.base import KEPT, PromptSpec
from vdu.data.cache import Cache
from vdu.models import load_model
from vdu.posterior import POSTERIORS
from vdu.recipe import Recipe
from vdu.samples import Samples, draw, draw_pristine
from vdu.sampling import HowToSample, image_seeds, run_to_end
from vdu.task import _pristine, open_model, open_task

HOW = HowToSample(3)


def set_in(path, **changes):
    """Change some values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def swap_letters(folder):
    """Let the tokenizer take an a for a b, and a b for an a."""
    path = folder / "tokenizer" / "tokenizer.json"
    text = path.read_text()
    path.write_text(text.replace('"a</w>"', '"?"').replace('"b</w>"', '"a</w>"').replace('"?"', '"b</w>"'))


def replace_weights(folder):
    """Replace the network by another of the same size, file name and time of modification."""
    path = folder / "unet" / WEIGHTS
    status, weights = path.stat(), load_file(path)
    name = max(weights, key=lambda name: weights[name].numel())
    save_file(weights | {name: weights[name] + 0.1}, path.with_name("new"), {"format": "pt"})
    assert path.with_name("new").stat().st_size == status.st_size
    path.with_name("new").replace(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def overwrite_weights(folder):
    """The same, in the file that has already been read."""
    path = folder / "unet" / WEIGHTS
    status, (old, new) = path.stat(), (path.read_bytes(), bytearray(path.read_bytes()))
    new[-400:] = bytes(400)
    assert new != old
    with path.open("r+b") as file:
        file.write(new)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


EDITS = {
    "prediction": lambda folder: set_in(folder / "scheduler" / "scheduler_config.json", prediction_type="v_prediction"),
    "clipping": lambda folder: set_in(folder / "scheduler" / "scheduler_config.json", clip_sample=True),
    "scaling": lambda folder: set_in(folder / "vae" / "config.json", scaling_factor=0.5),
    "tokenizer": swap_letters,
    "weights": replace_weights,
    "weights in place": overwrite_weights,
}
SPECS = [PromptSpec(prompt=letter) for letter in "abab"]


class Grey:
    """Judges how bright an image is."""

    axes: ClassVar = {"brightness": ("dark", "bright")}
    digest = "grey"

    def judge(self, images):
        bright = images.float().mean((1, 2, 3)) / 255
        return torch.stack([1 - bright, bright], 1), bright.double()[:, None]


def remembered(folder):
    """Images of the model in a folder, from memory if they are there."""
    model, _, _ = open_model(str(folder), "cpu")
    return run_to_end(draw_pristine("before", model, Grey(), image_seeds(0, 4), HOW, SPECS)).images


def anew(folder):
    """The same images without any memory."""
    return run_to_end(draw("before", load_model(folder), Grey(), image_seeds(0, 4), HOW, SPECS)).images


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small model, of which each test edits a copy."""
    return dummy_stable_diffusion(tmp_path_factory.mktemp("samples") / "sd")


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_after_an_edit_of_the_folder_the_images_are_those_of_a_new_process(edit, made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "sd")
    before = remembered(folder)
    assert torch.equal(before, anew(folder))
    copy = shutil.copytree(folder, tmp_path / "copy")
    edit(folder)
    after = remembered(folder)
    assert torch.equal(after, anew(folder))
    assert torch.equal(after, before) == (edit is EDITS["clipping"])
    assert torch.equal(remembered(copy), before)


def test_an_edit_does_not_reach_a_model_that_is_in_use(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "sd")
    model, _, _ = open_model(str(folder), "cpu")
    before = remembered(folder)
    overwrite_weights(folder)
    assert torch.equal(run_to_end(draw("before", model, Grey(), image_seeds(0, 4), HOW, SPECS)).images, before)


def variance_of(folder, name="layers"):
    """The posterior's variances, from the cache on disk if they are there."""
    model, _, _ = open_model(str(folder), "cpu")
    model.train_only("all")
    return run_to_end(POSTERIORS[name][0](model, (None,))).variance


@pytest.mark.usefixtures("quick_layers")
def test_a_mistake_in_a_copy_reaches_neither_the_corrected_copy_nor_the_shipped_model(tmp_path, monkeypatch):
    shipped = CATALOG["mnist-ddpm"].folder
    copy = tmp_path / "copy"
    for part in ("unet", "scheduler"):
        shutil.copytree(shipped / part, copy / part)
    shutil.copy(shipped / "model_index.json", copy)
    config = copy / "scheduler" / "scheduler_config.json"
    right = config.read_text()
    set_in(config, prediction_type="v_prediction")

    def figures(folder, cache):
        monkeypatch.setenv("VDU_CACHE", str(tmp_path / cache))
        task = open_task(Recipe.from_dict(QUICK | {"model": str(folder)}))
        drawn = run_to_end(draw_pristine("before", task.model, task.judge, image_seeds(0, 50), HOW))
        return task.measure(drawn), variance_of(folder)

    mistaken, _ = figures(copy, "shared")
    config.write_text(right)
    corrected, estimate = figures(copy, "shared")
    untouched, _ = figures(shipped, "shared")
    assert corrected == untouched
    assert corrected["retain_fid"] < mistaken["retain_fid"] / 2
    monkeypatch.setattr("vdu.samples._DRAWN", Cache(1 << 30))
    _pristine.cache_clear()
    again, alone = figures(copy, "new")
    assert again == corrected
    torch.testing.assert_close(estimate, alone, rtol=0, atol=0)


@pytest.mark.usefixtures("quick_layers")
def test_an_estimate_on_disk_goes_by_the_versions_of_the_libraries(tmp_path, monkeypatch):
    monkeypatch.setenv("VDU_CACHE", str(tmp_path / "cache"))
    folder = dummy_ddpm(tmp_path / "ddpm")
    variance_of(folder)
    variance_of(folder)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr("vdu.estimate_cache.package_versions", lambda: {"torch": "another"})
    variance_of(folder)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_prompt_is_right_on_an_axis_if_the_class_that_it_names_is_seen_or_it_names_none():
    nothing = torch.zeros(3, 1)
    specs = tuple(PromptSpec(KEPT, "", classes) for classes in ((1, 10), (1, -1), (1, 10)))
    drawn = Samples(nothing, nothing, nothing, torch.tensor([[1, 10], [1, 11], [1, 11]]), specs)
    assert drawn.right.tolist() == [[True, True], [True, True], [True, False]]
