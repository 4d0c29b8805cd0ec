"""A user's own pictures: how the model will see them, and which files are left out."""

import io
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vdu.data import decoding, files, pictures
from vdu.data.pictures import MOST_PICTURES, read_each, read_pictures
from vdu.errors import UserError
from vdu.sampling import run_to_end

SHAPE = (3, 8, 8)


def read_one(path, shape=SHAPE):
    """The picture in a file, which needs no note but that it is of one colour."""
    read, notes = run_to_end(read_each([path], shape))
    assert [note for note in notes if "one colour" not in note] == []
    return read[path]


def striped(*colours, size=9):
    """A picture with one column of black, for which no one takes it as empty, and colours in the rest."""
    image = Image.new("RGB", (size, size))
    for place, colour in enumerate(colours):
        image.paste(colour, (1 + place * (size - 1) // len(colours), 0, size, size))
    return image


def warned(folder, shape=SHAPE):
    """The pictures in a folder, and all that is warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        images, notes = run_to_end(read_pictures(folder, shape))
    assert [str(warning.message) for warning in said] == [*notes]
    return images, [str(warning.message) for warning in said]


def test_the_centre_is_kept_and_nothing_is_stretched(tmp_path):
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (read_one(tmp_path / "wide.png", SHAPE) == 200).all()


def test_odd_pictures_are_read_as_a_person_sees_them(tmp_path):
    turned = Image.new("RGB", (8, 8), "red")
    turned.paste((0, 0, 255), (0, 0, 8, 4))  # blue above red
    exif = turned.getexif()
    exif[0x0112] = 3  # held upside down
    turned.save(tmp_path / "turned.png", exif=exif)
    seen = read_one(tmp_path / "turned.png", SHAPE)
    assert seen[:, 0, 0].tolist() == [255, 0, 0]
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_one(tmp_path / "clear.png", SHAPE) == 255).all()
    Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16)).save(tmp_path / "deep.png")
    assert (read_one(tmp_path / "deep.png", SHAPE) == 128).all()
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "ink.jpg")
    assert read_one(tmp_path / "ink.jpg", SHAPE)[0].max() < 60  # cyan has no red
    Image.new("P", (8, 8), 0).save(tmp_path / "palette.gif")
    assert read_one(tmp_path / "palette.gif", (1, 8, 8)).shape == (1, 8, 8)


def test_broken_and_huge_files_are_left_out_by_name(tmp_path, monkeypatch):
    striped("green").save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "phone.heic").write_bytes(b"....ftypheic")
    (tmp_path / "words.txt").write_text("not a picture")
    for hidden in (".DS_Store", "._b.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / hidden).write_bytes(b"of the system")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "b.png").write_bytes(whole)
    Image.new("F", (8, 8), 0.5).save(tmp_path / "floats.tif")
    Image.new("RGB", (40, 40)).save(tmp_path / "huge.png")
    monkeypatch.setattr(decoding, "MOST_PIXELS", 1000)
    images, said = warned(tmp_path)
    assert images.shape == (1, *SHAPE)
    reasons = {
        "'words.txt' is not used": "no captions",
        "'broken.png' and 'phone.heic' are left out": "broken",
        "'empty.png' is left out": "empty",
        "'floats.tif' is left out": "32-bit",
        "'huge.png' is left out": "pixels",
    }
    assert len(said) == len(reasons)
    for start, reason in reasons.items():
        assert [reason in sentence for sentence in said if sentence.startswith(start)] == [True]


def test_a_folder_without_pictures_or_with_too_many_is_refused(tmp_path):
    with pytest.raises(UserError, match="no picture in"):
        run_to_end(read_pictures(tmp_path, SHAPE))
    for number in range(MOST_PICTURES + 1):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(UserError, match="at most 500"):
        run_to_end(read_pictures(tmp_path, SHAPE))


def test_a_zip_is_a_folder_of_pictures(tmp_path, monkeypatch):
    for number, colour in enumerate(("red", "blue")):
        striped(colour, size=8).save(tmp_path / f"{number}.png")
    (tmp_path / "large.png").write_bytes(b"x" * 5000)
    packed = tmp_path / "packed" / "all.zip"
    packed.parent.mkdir()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "1.png", "../b.png")
        archive.write(tmp_path / "0.png", "../../a.png")  # a name, not a place: nothing is written anywhere
        archive.write(tmp_path / "large.png", "large.png")
        archive.writestr("inner.zip", "no zip either")
        archive.writestr("__MACOSX/._a.png", "no picture")
    monkeypatch.setattr(files, "LARGEST_FILE", 4000)
    images, said = warned(packed)
    assert images[:, :, 0, -1].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert [name in sentence for name, sentence in zip(("inner.zip", "large.png"), said, strict=True)] == [True, True]
    assert torch.equal(warned(packed.parent)[0], images)  # in a folder, among other pictures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "large.png", "packed"]
    (packed.parent / "not.zip").write_bytes(b"not a zip")
    assert any(sentence.startswith("'not.zip' is left out: broken") for sentence in warned(packed.parent)[1])


def test_a_damaged_zip_and_odd_names_in_one_are_told_apart(tmp_path):
    striped("green").save(tmp_path / "whole.png")
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("/rooted.png"), (tmp_path / "whole.png").read_bytes())
    packed = (tmp_path / "odd.zip").read_bytes()
    (tmp_path / "damaged.zip").write_bytes(packed.replace(b"PK\x01\x02", b"PK\x09\x09"))
    read, left_out = run_to_end(read_each([tmp_path / "odd.zip", tmp_path / "damaged.zip"], SHAPE))
    assert [tmp_path / "odd.zip" in path.parents for path in read] == [True]
    assert len(left_out) == 1
    assert left_out[0].startswith("'damaged.zip' is left out")


def test_whatever_pillow_raises_leaves_one_picture_out(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9), "green").save(tmp_path / "whole.png")

    def fail(*_):
        raise TypeError("bad operand type for abs(): 'str'")

    monkeypatch.setattr(decoding, "pixels_of", fail)
    read, (sentence,) = run_to_end(read_each([tmp_path / "whole.png"], SHAPE))
    assert read == {}
    assert sentence.startswith("'whole.png' is left out: broken")


@pytest.fixture(params=["folder", "zip"])
def packed(request, tmp_path):
    """Gives a folder, or a zip of it, of pictures by their names in it."""

    def pack(*names):
        folder = tmp_path / "digits"
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            striped((200, number, 0)).save(folder / name)
        if request.param == "folder":
            return folder
        with zipfile.ZipFile(tmp_path / "digits.zip", "w") as archive:
            for name in names:
                archive.write(folder / name, name)
        return tmp_path / "digits.zip"

    return pack


def test_folders_of_labelled_folders_are_refused_by_name(packed):
    with pytest.raises(UserError, match=r"holds 2 folders of pictures, '3' and '8'; give one of them"):
        run_to_end(read_pictures(packed("3/a.png", "3/b.png", "8/a.png", "__MACOSX/8/a.png"), SHAPE))


def test_the_only_folder_in_a_folder_is_taken(packed):
    images, said = warned(packed("train/3/a.png", "train/3/b.png"))
    assert (len(images), said) == (2, [])


def test_folders_beside_pictures_are_named(packed):
    images, (sentence,) = warned(packed("a.png", "small/a.png"))
    assert len(images) == 1
    assert "folder 'small' is not used" in sentence


def test_captions_do_not_count_as_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PICTURES", 5)
    for number in range(5):
        striped((200, 9 * number, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a caption")
    images, said = warned(tmp_path)
    assert len(images) == 5
    assert [sentence.startswith("'0.txt', '1.txt', '2.txt' and 2 more are not used") for sentence in said] == [True]


def test_a_single_picture_is_a_set_of_one_and_one_alone_is_said_to_be_broken(tmp_path):
    striped("red").save(tmp_path / "one", "PNG")  # known by its content
    assert len(run_to_end(read_pictures(tmp_path / "one", SHAPE)).images) == 1
    (tmp_path / "one.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"no picture in '.*one\.png' that can be read; 'one\.png' is left out: empty"):
        run_to_end(read_pictures(tmp_path / "one.png", SHAPE))


def test_pictures_of_one_colour_are_refused_and_copies_left_out(tmp_path):
    for number in range(3):
        Image.new("L", (9, 9)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match="of one colour alone"):
        run_to_end(read_pictures(tmp_path, SHAPE))
    striped("red").save(tmp_path / "3.png")
    images, said = warned(tmp_path)
    assert len(images) == 2
    assert said == [
        "'0.png', '1.png' and '2.png' are of one colour alone",
        "'1.png' and '2.png' are left out: alike to another picture",
    ]


def test_links_to_folders_are_named_and_links_to_pictures_read(tmp_path):
    for place in ("here", "there/more"):
        (tmp_path / place).mkdir(parents=True)
    striped("red").save(tmp_path / "there" / "red.png")
    striped("blue").save(tmp_path / "there" / "more" / "blue.png")
    (tmp_path / "here" / "linked.png").symlink_to(tmp_path / "there" / "red.png")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "there" / "more", target_is_directory=True)
    images, (sentence,) = warned(tmp_path / "here")
    assert len(images) == 1
    assert sentence == "'linked' is not used: links to folders are not followed"


def test_an_encrypted_zip_is_told_from_a_broken_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"not read")
    plain = bytearray((tmp_path / "a.zip").read_bytes())
    plain[plain.index(b"PK\x01\x02") + 8] |= 1  # the flag, in the directory at its end
    (tmp_path / "a.zip").write_bytes(plain)
    with pytest.raises(UserError, match=r"'a\.png' is left out: encrypted"):
        run_to_end(read_pictures(tmp_path / "a.zip", SHAPE))


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tif"])
def test_the_first_frame_is_used_and_it_is_said(kind, tmp_path):
    first, second = striped("red"), striped("blue")
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second], **({"lossless": True} if kind == "webp" else {}))
    images, (sentence,) = warned(tmp_path)
    assert images[0, 0, 0, -1] > 200 > images[0, 2, 0, -1]
    assert f"'a.{kind}' is moving, or of several pages" in sentence


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "F"])
def test_every_mode_is_read_alike(mode, tmp_path):
    grey = Image.new("L", (8, 8))
    grey.paste(255, (2, 0, 6, 8))
    packed = io.BytesIO()
    (Image.fromarray(np.asarray(grey).astype(np.float32)) if mode == "F" else grey.convert("RGB").convert(mode)).save(
        packed, "TIFF", **({"tiffinfo": {341: 255.0}} if mode == "F" else {})
    )
    (tmp_path / "a.tif").write_bytes(packed.getvalue())
    assert torch.equal(read_one(tmp_path / "a.tif", (1, 8, 8))[0], torch.from_numpy(np.asarray(grey).copy()))
