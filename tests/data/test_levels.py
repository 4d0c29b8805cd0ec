"""Pictures of 12, 16 and 32 bits: which number is white, and that nothing is clipped without a word."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vdu.catalog import CATALOG
from vdu.data.pictures import read_each, read_pictures
from vdu.errors import UserError
from vdu.sampling import run_to_end

SHAPE = (1, 28, 28)
MNIST = CATALOG["mnist-ddpm"]
THREES = MNIST.pictures.examples("3")[:12, 0].numpy()


def tiff(numbers, bits, black_is_zero=1):
    """An uncompressed TIFF of 28×28 packed numbers."""
    tags = [(256, 28), (257, 28), (258, bits), (259, 1), (262, black_is_zero), (273, 8), (277, 1), (278, 28),
            (279, len(numbers))]  # fmt: skip
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return b"II" + struct.pack("<HI", 42, 8 + len(numbers)) + numbers + struct.pack("<H", len(tags)) + entries + bytes(4)


def saved(numbers, kind, **how):
    """A file of numbers."""
    Image.fromarray(numbers).save(file := io.BytesIO(), kind, **how)
    return file.getvalue()


def twelve(grey):
    """Numbers of 12 bits."""
    return grey.astype(np.uint16) * 16 + grey // 16


def packed(grey):
    """Two numbers of 12 bits in three bytes."""
    first, second = twelve(grey).reshape(-1, 2).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()


def with_significant_bits(png, bits):
    """A PNG that names its significant bits: the chunk follows the header, which ends at byte 33."""
    body = b"sBIT" + bytes([bits])
    return png[:33] + struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body)) + png[33:]


FILES = {  # kind of file -> (its bytes from 8-bit grey, whether it is assumed what is white)
    "12-bit.tif": (lambda grey: tiff(packed(grey), 12), False),
    "12-in-16.png": (lambda grey: saved(twelve(grey), "PNG"), True),
    "12-in-16.tif": (lambda grey: saved(twelve(grey), "TIFF", tiffinfo={281: 4095}), False),
    "12-significant.png": (lambda grey: with_significant_bits(saved(twelve(grey), "PNG"), 12), False),
    "12-upper.png": (lambda grey: with_significant_bits(saved(grey.astype(np.uint16) * 257, "PNG"), 12), False),
    "14-in-16.tif": (lambda grey: saved(grey.astype(np.uint16) * 64 + grey // 4, "TIFF"), True),
    "16.png": (lambda grey: saved(grey.astype(np.uint16) * 257, "PNG"), False),
    "white-is-zero.tif": (lambda grey: tiff((65535 - grey.astype("<u2") * 257).astype("<u2").tobytes(), 16, 0), False),
    "white-is-zero-8.tif": (lambda grey: saved(grey, "TIFF", compression="tiff_lzw", tiffinfo={262: 0}), False),
    "32.tif": (lambda grey: saved(grey.astype(np.int32) * 200, "TIFF", tiffinfo={281: 51000}), False),
    "floats.tif": (lambda grey: saved(grey.astype(np.float32) / 255, "TIFF", tiffinfo={341: 1.0}), False),
}


@pytest.mark.parametrize("kind", FILES)
def test_deep_grey_is_read_as_8_bits_are(kind, tmp_path):
    encode, assumed = FILES[kind]
    for number, grey in enumerate(THREES):
        (tmp_path / f"{number:02d}-{kind}").write_bytes(encode(grey))
    read, notes = run_to_end(read_each([tmp_path], SHAPE))
    images = np.stack([image[0].numpy() for image in read.values()])
    assert np.abs(images.astype(int) - THREES).max() <= 1
    assert ["is taken as white" in note for note in notes] == [True] * assumed
    seen = MNIST.judge.judge(run_to_end(read_pictures(tmp_path, SHAPE)).images)[0].argmax(1)
    assert (seen == 3).sum() >= 11


def test_one_dark_picture_among_bright_ones_stays_dark(tmp_path):
    (tmp_path / "bright.png").write_bytes(saved(THREES[0].astype(np.uint16) * 257, "PNG"))
    (tmp_path / "dark.png").write_bytes(saved(THREES[1].astype(np.uint16) * 16, "PNG"))
    read, notes = run_to_end(read_each([tmp_path], SHAPE))
    assert (read[tmp_path / "bright.png"].max(), read[tmp_path / "dark.png"].max(), notes) == (255, 16, [])


@pytest.mark.parametrize("numbers", [THREES[0].astype(np.float32) / 255, THREES[0].astype(np.int32) * 1000])
def test_numbers_of_32_bits_without_a_known_white_are_left_out(numbers, tmp_path):
    (tmp_path / "a.tif").write_bytes(saved(numbers, "TIFF"))
    assert run_to_end(read_each([tmp_path / "a.tif"], SHAPE))[0] == {}
    with pytest.raises(UserError, match="nothing says which is white; save it with 8 or 16 bits"):
        run_to_end(read_pictures(tmp_path, SHAPE))


def test_dim_colours_of_16_bits_are_refused(tmp_path):
    """Pillow keeps the upper 8 bits alone, so that the lower ones cannot be brought back."""
    rows = b"".join(b"\0" + twelve(row.repeat(3)).astype(">u2").tobytes() for row in THREES[0])
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 28, 28, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                    for kind, data in chunks)  # fmt: skip
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UserError, match="8 bits per colour"):
        run_to_end(read_each([tmp_path / "a.png"], SHAPE))


def test_a_tiff_that_cannot_be_decoded_is_named(tmp_path):
    grey = (65535 - THREES[0].astype(np.uint16) * 257).astype("<u2").tobytes()
    (tmp_path / "a.tif").write_bytes(tiff(grey, 13))
    read, (sentence,) = run_to_end(read_each([tmp_path / "a.tif"], SHAPE))
    assert read == {}
    assert sentence == "'a.tif' is left out: broken, or of a kind that cannot be read; save it as PNG or JPEG"
