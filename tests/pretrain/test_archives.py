"""Archives that cannot be trained on are refused before anything is computed."""

import tarfile

import pytest
from archives import archive_of

from vdu.errors import UserError
from vdu.pretrain.archives import KINDS, read_archive


def test_a_download_that_ended_early_is_one_sentence(tmp_path):
    whole = archive_of(tmp_path / "whole.tar", 2)
    packed = tmp_path / "part.tar.xz"
    with tarfile.open(packed, "w:xz") as archive:
        archive.add(whole, "train/red/picture.png")
    packed.write_bytes(packed.read_bytes()[:-2000])
    with pytest.raises(UserError, match="could not be read as an archive of pictures"):
        read_archive(packed, KINDS["cifar10"])


def test_an_archive_without_pictures_is_one_sentence(tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(UserError, match="has no pictures to train with"):
        read_archive(tmp_path / "empty.tar", KINDS["cifar10"])
    with pytest.raises(UserError, match="has no pictures to test with"):
        read_archive(archive_of(tmp_path / "train.tar", 2), KINDS["cifar10"])
