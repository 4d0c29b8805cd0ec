"""A user's own pictures: how the model will see them, and which files are left out."""

import re
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vdu.data import pictures
from vdu.data.pictures import MOST_PICTURES, read_each, read_picture, read_pictures
from vdu.errors import UserError

SHAPE = (3, 8, 8)


def test_the_centre_is_kept_and_nothing_is_stretched(tmp_path):
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (read_picture(tmp_path / "wide.png", SHAPE) == 200).all()


def test_odd_pictures_are_read_as_a_person_sees_them(tmp_path):
    turned = Image.new("RGB", (8, 8), "red")
    turned.paste((0, 0, 255), (0, 0, 8, 4))  # blue above red
    exif = turned.getexif()
    exif[0x0112] = 3  # held upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    seen = read_picture(tmp_path / "turned.png", SHAPE)
    assert seen[:, 0, 0].tolist() == [255, 0, 0]
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", SHAPE) == 255).all()
    Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png", SHAPE) == 128).all()
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "ink.jpg")
    assert read_picture(tmp_path / "ink.jpg", SHAPE)[0].max() < 60  # cyan has no red
    Image.new("P", (8, 8), 0).save(tmp_path / "palette.gif")
    assert read_picture(tmp_path / "palette.gif", (1, 8, 8)).shape == (1, 8, 8)


def test_broken_and_huge_files_are_left_out_by_name(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9), "green").save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.txt").write_text("not a picture")
    Image.new("F", (8, 8), 0.5).save(tmp_path / "floats.tif")
    Image.new("RGB", (40, 40)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images = read_pictures(tmp_path, SHAPE)
    assert torch.equal(images, torch.tensor([0, 128, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    reasons = {"broken.png": "broken", "floats.tif": "32-bit", "huge.png": "pixels", "words.txt": "not one of PNG"}
    assert len(said) == len(reasons)
    for warning, (name, reason) in zip(said, reasons.items(), strict=True):
        assert re.search(f"'{name}' is left out: .*{reason}", str(warning.message))


def test_a_folder_without_pictures_or_with_too_many_is_refused(tmp_path):
    with pytest.raises(UserError, match="no picture in"):
        read_pictures(tmp_path, SHAPE)
    for number in range(MOST_PICTURES + 1):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(UserError, match="at most 500"):
        read_pictures(tmp_path, SHAPE)


def test_a_zip_is_a_folder_of_pictures(tmp_path, monkeypatch):
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (9, 9), colour).save(tmp_path / f"{number}.png")
    (tmp_path / "large.png").write_bytes(b"x" * 5000)
    packed = tmp_path / "packed" / "all.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "1.png", "deep/down/b.png")
        archive.write(tmp_path / "0.png", "../../a.png")  # a name, not a place: nothing is written anywhere
        archive.write(tmp_path / "large.png", "large.png")
        archive.writestr("__MACOSX/._a.png", "no picture")
    monkeypatch.setattr(pictures, "LARGEST_FILE", 4000)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images = read_pictures(packed, SHAPE)
    assert images[:, :, 0, 0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert ["large.png" in str(warning.message) for warning in said] == [True]
    assert torch.equal(read_pictures(packed.parent, SHAPE), images)  # in a folder, among other pictures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "large.png", "packed"]
    (packed.parent / "not.zip").write_bytes(b"not a zip")
    with pytest.warns(UserWarning, match=r"'not\.zip' is left out"):
        read_pictures(packed.parent, SHAPE)


def test_a_damaged_zip_and_odd_names_in_one_are_told_apart(tmp_path):
    Image.new("RGB", (9, 9), "green").save(tmp_path / "whole.png")
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("/rooted.png"), (tmp_path / "whole.png").read_bytes())
    packed = (tmp_path / "odd.zip").read_bytes()
    (tmp_path / "damaged.zip").write_bytes(packed.replace(b"PK\x01\x02", b"PK\x09\x09"))
    read, left_out = read_each([tmp_path / "odd.zip", tmp_path / "damaged.zip"], SHAPE)
    assert [tmp_path / "odd.zip" in path.parents for path in read] == [True]
    assert len(left_out) == 1
    assert left_out[0].startswith("'damaged.zip' is left out")


def test_whatever_pillow_raises_leaves_one_picture_out(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9), "green").save(tmp_path / "whole.png")

    def fail(*_):
        raise TypeError("bad operand type for abs(): 'str'")

    monkeypatch.setattr(pictures, "read_picture", fail)
    assert read_each([tmp_path / "whole.png"], SHAPE) == ({}, ["'whole.png' is left out: it is broken"])
