"""What is written is there whole or not at all, and a full disk is a sentence."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from vdu.errors import UserError
from vdu.writing import check_writable, reason_of, whole


def full(*arguments, **named):
    """What every write to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_takes_the_place_of_an_older_one_only_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "sheet.png"
    for words in ("first", "second"):
        with whole(path) as partial:
            partial.write_text(words)
            assert not path.exists() or path.read_text() == "first"
    with pytest.raises(UserError, match="could not be written: the disk is full; free some space"), whole(path) as partial:
        partial.write_text("third")
        full()
    assert [*path.parent.iterdir()] == [path]
    assert path.read_text() == "second"


def test_a_folder_takes_the_place_of_an_empty_one(tmp_path):
    (tmp_path / "run").mkdir()
    with whole(tmp_path / "run") as partial:
        partial.mkdir()
        (partial / "file").touch()
    assert (tmp_path / "run" / "file").exists()
    assert [*tmp_path.iterdir()] == [tmp_path / "run"]


@pytest.mark.parametrize(("name", "reason"), [("x" * 300, "its name is too long"), ("full", "a folder that is not empty")])
def test_what_would_fail_in_the_end_fails_at_once(name, reason, tmp_path):
    (tmp_path / "full" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=reason):
        check_writable(tmp_path / name)


def test_any_other_error_stays_what_it_is_and_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "file") as partial:
        partial.touch()
        raise ZeroDivisionError
    assert not [*tmp_path.iterdir()]


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    check_writable(tmp_path / "a" / "b")
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]
    with pytest.raises(UserError, match="a part of its path is a file"):
        check_writable(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "the disk is read-only"),
        (PermissionError(errno.EACCES, "Permission denied"), "you may not write there"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("encoder error -2 when writing image file"), "encoder error -2 when writing image file"),
    ],
)
def test_the_reason_is_in_words(error, words):
    assert reason_of(error) == words


def test_a_device_is_left_as_it_is():
    for use in (check_writable, lambda path: whole(path).__enter__()):
        with pytest.raises(UserError, match="it is a device and no file"):
            use(Path(os.devnull))
    assert not Path(os.devnull).is_file()
