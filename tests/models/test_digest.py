"""A folder's digest changes with every file that is read, and weights are finite and the model's own."""

import os
import shutil

import pytest
import torch
from dummies import WEIGHTS, dummy_ddpm, dummy_stable_diffusion
from safetensors.torch import load_file, save_file

from vdu.errors import UserError
from vdu.models import digest, load_model
from vdu.models.digest import check_finite, copy_weights, folder_digest

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return dummy_stable_diffusion(tmp_path_factory.mktemp("digest") / "sd")


@pytest.mark.parametrize("part", ["", *PARTS])
def test_every_file_of_every_part_counts_by_name_and_contents(part, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert folder_digest(copy, PARTS) == folder_digest(folder, PARTS)
    for path in [copy / "model_index.json"] if not part else sorted((copy / part).iterdir()):
        before, contents = folder_digest(copy, PARTS), path.read_bytes()
        path.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
        assert folder_digest(copy, PARTS) != before
        path.write_bytes(contents)
        assert folder_digest(copy, PARTS) == before
        path.rename(path.with_name(f"other-{path.name}"))
        assert folder_digest(copy, PARTS) != before
        path.with_name(f"other-{path.name}").rename(path)


def test_files_that_no_library_reads_do_not_count(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in (
        "README.md",
        "unet/picture.png",
        "unet/diffusion_pytorch_model.bin",
        "whole.safetensors",
        "other/config.json",
    ):
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("{}")
    assert folder_digest(copy, PARTS) == folder_digest(folder, PARTS)


def test_a_network_beside_the_index_counts(tmp_path):
    root = dummy_ddpm(tmp_path / "ddpm", at_root=True)
    before = load_model(root).digest
    (root / "scheduler_config.json").write_text((root / "scheduler_config.json").read_text() + " ")
    assert load_model(root).digest != before


def test_other_contents_of_the_same_size_and_times_are_another_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    monkeypatch.setattr(digest, "SETTLED", -1e18)  # every file has settled, so every hash is remembered
    before = digest.file_digest(path)
    assert digest.file_digest(path) == before
    path.write_bytes(b"two")
    os.utime(path, (1e9, 1e9))
    assert digest.file_digest(path) != before
    (tmp_path / "new").write_bytes(b"one")
    os.utime(tmp_path / "new", (1e9, 1e9))
    (tmp_path / "new").replace(path)
    assert digest.file_digest(path) == before


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nothing is remembered")
def test_a_file_is_read_again_only_if_it_may_have_changed(tmp_path, monkeypatch):
    path, reads, whole = tmp_path / "weights.safetensors", [], digest.hashlib.file_digest
    path.write_bytes(b"one")
    monkeypatch.setattr(digest.hashlib, "file_digest", lambda file, name: reads.append(file.name) or whole(file, name))
    assert digest.file_digest(path) == digest.file_digest(path)
    assert len(reads) == 2  # it has just been written
    monkeypatch.setattr(digest, "SETTLED", -1e18)
    assert digest.file_digest(path) == digest.file_digest(path)
    assert len(reads) == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_weight_that_is_not_finite_is_named(bad, dtype):
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)).to(dtype)
    check_finite("the network", network)
    network[1].running_var[1] = bad
    with pytest.raises(UserError, match=r"weights of the network are not all finite numbers: 1\.running_var"):
        check_finite("the network", network)


@pytest.mark.parametrize(("part", "file"), [("unet", WEIGHTS), ("vae", WEIGHTS), ("text_encoder", "model.safetensors")])
def test_no_part_of_a_model_may_be_broken(part, file, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = load_file(copy / part / file)
    name = next(name for name, value in weights.items() if value.is_floating_point())
    save_file(weights | {name: torch.full_like(weights[name], float("nan"))}, copy / part / file, {"format": "pt"})
    with pytest.raises(UserError, match=f"weights of the {part} of"):
        load_model(copy)


def test_copied_weights_do_not_change_with_their_file(tmp_path):
    network = torch.nn.Linear(64, 64)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    network.weight.data = load_file(tmp_path / "weights.safetensors")["weight"]
    copy_weights(network)
    before = network.weight.detach().clone()
    contents = (tmp_path / "weights.safetensors").read_bytes()
    with (tmp_path / "weights.safetensors").open("r+b") as file:
        file.write(bytes(len(contents)))
    assert torch.equal(network.weight, before)
    assert before.any()
