"""The examples of docs/extending.md and their tests work as written: each as a file in a copy of the package."""

import re
import shutil
from pathlib import Path

from forking import python

ROOT = Path(__file__).resolve().parents[1]
FILE = re.compile(r"^```python\n# ((?:vdu|tests)/\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
USE = """
import torch
from diffusers import DDIMScheduler, LDMPipeline, UNet2DModel, VQModel

from vdu.methods import METHODS
from vdu.metrics import METRICS
from vdu.models import load_model
from vdu.page.panel import make_panels
from vdu.posterior import POSTERIORS
from vdu.recipe import Recipe
from vdu.report import report_of
from vdu.run import Run
from vdu.task import shape_of
from vdu.unlearn import unlearn


def test_all_are_found_and_a_run_uses_them(tmp_path):
    assert "noise-target" in METHODS and "magnitude" in POSTERIORS and "brightness" in {metric.key for metric in METRICS}
    assert "Time" in {type(panel).__name__ for panel in make_panels()}

    quick = {"samples": 50, "replay": 24, "steps": 1, "preview_every": 1, "sampler_steps": 2, "batch_size": 4}
    run = Run(Recipe.from_dict(quick | {"method": "noise-target", "posterior": "magnitude", "optimizer": "natural"}))
    assert [type(event).__name__ for event in unlearn(run)][-1] == "Finished"
    before = report_of(run)["before"]
    low, high = before["brightness_ci95"]
    assert 0 <= low < before["brightness"] < high <= 255
    assert all((value >= 0).all() for value in run.posterior.variance.values())

    blocks = {"block_out_channels": (8, 8), "norm_num_groups": 4}
    network = UNet2DModel(
        8, 4, 4, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, layers_per_block=1, **blocks
    )
    autoencoder = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, num_vq_embeddings=16,
        latent_channels=4, **blocks
    )
    LDMPipeline(autoencoder, network, DDIMScheduler()).save_pretrained(tmp_path / "latent")
    model = load_model(tmp_path / "latent")
    assert shape_of(str(tmp_path / "latent")) is None  # the network's configuration tells the shape of latents alone
    states = torch.randn(2, *model.shape)
    with torch.no_grad():
        expected = autoencoder.eval().decode(states / autoencoder.config.scaling_factor).sample
    images = model.decode(states)
    assert images.shape == (2, *model.image_shape) == (2, 3, 16, 16)
    assert (images.float() - (expected.clamp(-1, 1) + 1) * 127.5).abs().max() <= 1
    assert model.encode(images).shape == states.shape
    model.save(tmp_path / "saved")
    assert isinstance(LDMPipeline.from_pretrained(tmp_path / "saved", use_safetensors=True), LDMPipeline)
"""


def test_every_recipe_works_as_written(tmp_path):
    shutil.copytree(ROOT / "vdu", tmp_path / "vdu")
    (tmp_path / "assets").symlink_to(ROOT / "assets", target_is_directory=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests").mkdir()
    for helper in (ROOT / "tests").glob("*.py"):
        shutil.copy(helper, tmp_path / "tests")
    files = FILE.findall((ROOT / "docs" / "extending.md").read_text())
    tests = [name for name, _ in files if name.startswith("tests/")]
    assert (len(files), len(tests)) == (8, 3)
    for name, code in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.read_text() + "\n\n" + code if path.exists() else code)
    (tmp_path / "tests" / "test_use.py").write_text(USE)
    run = f"import pytest, sys; sys.exit(int(pytest.main({['-n', '0', 'tests/test_use.py', *tests]})))"
    done = python(run, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
