"""IDX files are read as they are, plain or compressed, and anything else is refused in a sentence."""

import gzip

import pytest
import torch
from mnist_files import write_idx

from vdu.catalog import CATALOG
from vdu.cli import main
from vdu.errors import UserError
from vdu.pretrain.idx import read_idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path):
    return write_idx(tmp_path / "idx")


def test_pictures_and_labels_come_back_plain_or_compressed(folder):
    images, labels = read_idx(folder, "train")
    assert images.dtype == torch.uint8
    assert torch.equal(images[labels == 3], CATALOG["mnist-ddpm"].pictures.examples("3"))
    for name in (IMAGES, LABELS):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    again = read_idx(folder, "train")
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])


def cut(content: bytes) -> bytes:
    return content[:-1]


def flat(content: bytes) -> bytes:
    return content[:8] + (14).to_bytes(4, "big") + (56).to_bytes(4, "big") + content[16:]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (IMAGES, cut, "is no whole IDX file"),
        (LABELS, cut, "is no whole IDX file"),
        (IMAGES, lambda content: b"", "is no whole IDX file"),
        (LABELS, lambda content: bytes(4) + content[4:], "is no whole IDX file"),
        (IMAGES, flat, "of 14×56 and"),
        (LABELS, lambda content: content[:-1] + bytes([10]), "must be those of MNIST"),
        (LABELS, lambda content: content[:4] + (1).to_bytes(4, "big") + bytes(1), "and 1 labels"),
    ],
)
def test_what_is_no_such_file_is_refused(folder, name, change, words):
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(UserError, match=words):
        read_idx(folder, "train")


def test_a_damaged_archive_is_refused(folder):
    (folder / f"{LABELS}.gz").write_bytes(gzip.compress((folder / LABELS).read_bytes())[:-9])
    (folder / LABELS).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_idx(folder, "train")


@pytest.mark.parametrize("what", ["mnist", "tiny-sd", "retrained", "originals"])
def test_a_folder_without_them_is_refused_before_anything_is_trained(what, folder, tmp_path, capsys):
    command = ["pretrain", what, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--steps", "10"]
    assert main([*command, "--data", str(tmp_path / "nowhere")]) == 2
    assert "lacks train-images-idx3-ubyte; give a folder" in capsys.readouterr().err
    if what in ("mnist", "tiny-sd"):  # these also read test pictures, at the end
        assert main([*command, "--data", str(folder)]) == 2
        assert "lacks t10k-images-idx3-ubyte" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "work").exists()
