"""How much is decoded of a picture: bounded before it is, less for large JPEGs, and once."""

import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from vdu.data import decoding, pictures
from vdu.data.decoding import decode, reduce
from vdu.data.files import file_at
from vdu.data.levels import STRIP, fitted, on_white, pixels_of
from vdu.data.pictures import read_each, read_pictures
from vdu.errors import UserError
from vdu.sampling import run_to_end

SHAPE = (3, 8, 8)
READ = """
import sys, time
from pathlib import Path
from vdu.data.pictures import read_each
from vdu.sampling import run_to_end
from vdu.system import peak_memory_mib
before, started = peak_memory_mib("cpu"), time.monotonic()
pictures, notes = run_to_end(read_each([Path(sys.argv[1])], (1, 28, 28)))
print(len(pictures), time.monotonic() - started, peak_memory_mib("cpu") - before, *notes)
"""


def png_of_zeros(side):
    """A grey PNG of zeros."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
                    for kind, data in chunks)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + body


def noisy(width, height, mode="RGB"):
    """A picture of soft noise, the same each time."""
    numbers = np.random.default_rng(0).integers(0, 256, (16, 16, len(mode)), dtype=np.uint8)
    return Image.fromarray(numbers, mode).resize((width, height), Image.Resampling.BICUBIC)


def test_a_small_zip_of_very_large_pictures_takes_neither_time_nor_memory(tmp_path):
    """Read in full, its 1.6 billion pixels take half a minute and some 500 MiB."""
    picture = png_of_zeros(8000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(25):
            archive.writestr(f"{number}.png", picture)
    assert (tmp_path / "a.zip").stat().st_size < 40_000
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path / "a.zip")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    count, seconds, mib, note = done.stdout.strip().split(" ", 3)
    assert count == "0"
    assert float(seconds) < 2
    assert float(mib) < 150
    assert note == "'0.png', '1.png', '10.png' and 22 more are left out: more than 16 million pixels; save it smaller"


def test_pictures_of_too_many_pixels_in_all_are_refused_and_told_what_to_do(tmp_path, monkeypatch):
    for number in range(3):
        noisy(20, 20).rotate(90 * number).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(pictures, "MOST_IN_ALL", 1200)
    assert len(run_to_end(read_pictures(tmp_path, SHAPE)).images) == 3
    monkeypatch.setattr(pictures, "MOST_IN_ALL", 1199)
    for _ in ("decoded", "from the cache"):
        with pytest.raises(UserError, match="million pixels in all; give fewer, or save them smaller"):
            run_to_end(read_pictures(tmp_path, SHAPE))


def test_a_photograph_of_many_pixels_is_reduced_while_it_is_read(tmp_path):
    noisy(4000, 3000).save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        cost = reduce(image, (3, 64, 64), decoding.MOST_IN_ALL)
        assert image.size == (500, 375)
        assert cost == 500 * 375 + 4000 * 3000 // 16
        small = pixels_of(image, (3, 64, 64)).values
    with Image.open(tmp_path / "a.jpg") as image:
        assert (small.float() - fitted(image, (3, 64, 64)).float()).abs().mean() < 2
        reduce(image, (3, 1024, 1024), decoding.MOST_IN_ALL)
        assert image.size == (4000, 3000)  # half of it would be too little
    Image.new("L", (6000, 4000)).save(tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        reduce(image, (3, 1024, 1024), decoding.MOST_IN_ALL)
        assert image.size == (3000, 2000)  # the whole would be too much


def test_a_jpeg_that_is_not_large_is_read_whole(tmp_path):
    noisy(1000, 1000).save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert reduce(image, SHAPE, decoding.MOST_IN_ALL) == 1_000_000
        assert image.size == (1000, 1000)


def test_108_megapixels_are_read_unless_all_must_be_unpacked_first(tmp_path):
    Image.new("L", (12_000, 9_000), 7).save(tmp_path / "plain.jpg")
    Image.new("L", (5_000, 5_000), 7).save(tmp_path / "progressive.jpg", progressive=True)
    read, notes = run_to_end(read_each([tmp_path / "plain.jpg", tmp_path / "progressive.jpg"], SHAPE))
    assert [*read] == [tmp_path / "plain.jpg"]
    assert read[tmp_path / "plain.jpg"].float().mean() == pytest.approx(7, abs=1)
    assert any("'progressive.jpg' is left out: more than 16 million pixels; save it as a plain JPEG" in note for note in notes)


def test_a_tile_larger_than_its_picture_counts(tmp_path):
    side = 6144
    packed = zlib.compress(bytes(64))
    tags = [(256, 4, 16), (257, 4, 16), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (322, 4, side), (323, 4, side),
            (324, 4, 8), (325, 4, len(packed))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII" if kind == 4 else "<HHIHH", tag, kind, 1, *([value] if kind == 4 else [value, 0]))
                       for tag, kind, value in tags)  # fmt: skip
    start = b"II" + struct.pack("<HI", 42, 8 + len(packed)) + packed + struct.pack("<H", len(tags))
    (tmp_path / "a.tif").write_bytes(start + entries + bytes(4))
    assert run_to_end(read_each([tmp_path / "a.tif"], SHAPE))[1][0].endswith("more than 16 million pixels; save it smaller")


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
@pytest.mark.parametrize("wanted", ["L", "RGB"])
def test_rows_that_are_converted_at_a_time_join_without_a_seam(mode, wanted):
    image = noisy(40, 2 * STRIP + 30, "RGBA").convert(mode)
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    assert on_white(image, wanted).tobytes() == white.convert(wanted).tobytes()


def test_a_file_is_decoded_once_by_whatever_name(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(decoding, "pixels_of", lambda *given: calls.append(given) or pixels_of(*given))
    noisy(20, 20).save(tmp_path / "a.png")
    first = decode(file_at(tmp_path / "a.png"), SHAPE)
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    assert decode(file_at(tmp_path / "b.png"), SHAPE) is first
    assert len(calls) == 1
    decode(file_at(tmp_path / "b.png"), (3, 4, 4))
    assert len(calls) == 2
    noisy(20, 20).rotate(90).save(tmp_path / "a.png")  # written anew in its place
    os.utime(tmp_path / "a.png", ns=(0, 0))
    assert not torch.equal(decode(file_at(tmp_path / "a.png"), SHAPE).pixels.values, first.pixels.values)


def test_the_pictures_of_a_zip_are_told_apart_in_the_cache(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3):
            noisy(20, 20).rotate(90 * number).save(packed := io.BytesIO(), "BMP")  # all of the same size
            archive.writestr(f"{number}.bmp", packed.getvalue())
    for _ in ("decoded", "from the cache"):
        assert len(run_to_end(read_each([tmp_path / "a.zip"], SHAPE))[0]) == 3


def test_memory_that_does_not_suffice_leaves_one_picture_out(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    noisy(20, 20).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "pixels_of", fail)
    assert decode(file_at(tmp_path / "a.png"), SHAPE).problem.startswith("too large for the memory of this machine")
