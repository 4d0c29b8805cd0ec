"""What is found among a user's files: bounded before it is unpacked, and named so that a sentence can hold it."""

import struct
import zipfile

import pytest

from vdu.data import files
from vdu.data.files import LONGEST_NAME, MOST_ADDED, NAMED, Notes, find_pictures, identity_of, shortened
from vdu.errors import UserError


def write_zip(path, names, content=b"x", packing=zipfile.ZIP_DEFLATED):
    """A zip of files that all hold the same."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def test_a_giant_table_of_contents_is_not_read(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", [f"{number:05d}.png" for number in range(2000)])
    monkeypatch.setattr(files, "LARGEST_DIRECTORY", 2000 * 55)  # 46 bytes per file, and its name
    assert len(find_pictures([path], Notes())) == 2000
    monkeypatch.setattr(files, "LARGEST_DIRECTORY", 2000 * 55 - 1)
    monkeypatch.setattr(zipfile, "ZipInfo", None)  # no file in it is looked at
    with pytest.raises(UserError, match=r"'a\.zip' holds more than 20,000 files"):
        find_pictures([path], Notes())


def test_a_zip_with_a_wrong_count_of_files_is_bounded_alike(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", [f"{number}.png" for number in range(300)])
    packed = bytearray(path.read_bytes())
    end = packed.rindex(b"PK\x05\x06")
    packed[end + 8 : end + 12] = struct.pack("<HH", 1, 1)
    path.write_bytes(packed)
    monkeypatch.setattr(files, "LARGEST_DIRECTORY", 5000)
    with pytest.raises(UserError, match="more than 20,000 files"):
        find_pictures([path], Notes())


def test_what_unpacking_adds_is_bounded_in_all(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "a.zip", ["a.png", "b.png", "c.txt"], bytes(100_000))
    monkeypatch.setattr(files, "MOST_ADDED", 200_000)
    assert len(find_pictures([path], Notes())) == 2  # the third is no picture, and is not unpacked
    monkeypatch.setattr(files, "MOST_ADDED", 190_000)
    with pytest.raises(UserError, match=f"'a.zip' unpacks to more than {190_000 // 2**20} MiB; give fewer pictures"):
        find_pictures([path], Notes())
    monkeypatch.setattr(files, "MOST_ADDED", 1000)
    stored = write_zip(tmp_path / "stored.zip", ["a.png", "b.png"], bytes(100_000), zipfile.ZIP_STORED)
    assert len(find_pictures([stored], Notes())) == 2
    assert MOST_ADDED > 10 * files.LARGEST_FILE


def test_long_and_many_names_make_a_short_line():
    notes = Notes()
    for number in range(5000):
        notes.add(files.NOT_USED, f"{number}{'é' * 250}.png")
    notes.add(files.BESIDE, "two\nlines\x1b[31m\u202e")
    many, odd = notes.sentences()
    assert len(many) < 350
    assert f"and {5000 - NAMED} more are" in many
    assert many.count(".png") == NAMED
    assert odd.isprintable()
    assert shortened("a" * LONGEST_NAME) == "a" * LONGEST_NAME
    assert len(shortened("a" * 255)) == LONGEST_NAME


def test_a_folder_is_told_by_its_name(tmp_path):
    assert shortened(tmp_path / "cats") == "cats"
    assert shortened(files.Path()) == files.Path.cwd().name[:LONGEST_NAME]


def test_a_file_that_has_gone_is_named(tmp_path):
    (tmp_path / "here.png").write_bytes(b"x")
    found = find_pictures([tmp_path / "here.png", tmp_path / "gone.png"], notes := Notes())
    assert [file.path.name for file in found] == ["here.png"]
    assert notes.sentences() == ["'gone.png' is left out: no longer there"]


def test_a_zip_is_closed_with_its_last_picture(tmp_path, monkeypatch):
    opened, plain = [], files.Directory
    monkeypatch.setattr(files, "Directory", lambda raw: opened.append(raw) or plain(raw))
    path = write_zip(tmp_path / "a.zip", ["a.png"])
    (picture,) = find_pictures([path], Notes())
    assert picture.open().read() == b"x"
    assert not opened[0].closed
    del picture
    assert opened[0].closed


def test_links_have_the_identity_of_their_file_and_other_content_another(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert identity_of(tmp_path / "a") == identity_of(tmp_path / "b")
    (tmp_path / "c").write_bytes(b"x")
    assert identity_of(tmp_path / "c") != identity_of(tmp_path / "a")
