"""The server's folder: whose it is, what is left of the dead, and how uploads are kept few."""

import os
import time

import psutil

from vdu import workspace as module
from vdu.workspace import OWNER, PREFIX, leave, new_folder, server_folder, size_of, sweep, trim_uploads


def test_folders_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    this = psutil.Process()
    owners = {
        "mine": f"{os.getpid()} {this.create_time()}",
        "of-another-time": f"{os.getpid()} {this.create_time() - 1000}",  # its number was given to this process later
        "no-process": "999999999 1.0",
    }
    for name, owner in owners.items():
        (tmp_path / f"{PREFIX}{name}" / "runs").mkdir(parents=True)
        (tmp_path / f"{PREFIX}{name}" / OWNER).write_text(owner)
    (tmp_path / "of-another-program").mkdir()
    (tmp_path / f"{PREFIX}new").mkdir()  # another process is about to write its owner
    old = tmp_path / f"{PREFIX}old"
    old.mkdir()
    os.utime(old, (1.0, 1.0))
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "of-another-program", target_is_directory=True)
    sweep(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{PREFIX}mine", f"{PREFIX}new", f"{PREFIX}link", "of-another-program"}


def test_a_fork_leaves_the_folder_of_its_parent_alone(tmp_path):
    leave(tmp_path, os.getpid() + 1)
    assert tmp_path.is_dir()
    leave(tmp_path, os.getpid())
    assert not tmp_path.exists()


def test_runs_have_folders_of_their_own_even_if_the_parent_was_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "server_folder", lambda: tmp_path / "gone")
    first, second = new_folder(), new_folder()
    assert first != second
    assert len(first.name) == 32
    (first / "a").write_bytes(b"12345")
    assert size_of(first) == 5


def test_old_uploads_go_and_the_oldest_of_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "server_folder", lambda: tmp_path)
    for age in range(5):
        folder = tmp_path / "uploads" / f"hash-{age}"
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"x" * 100)
        os.utime(folder / "a.png", (time.time() - 100 * age,) * 2)
    trim_uploads(10_000, longest=350)
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {f"hash-{age}" for age in range(4)}
    in_use = {str(path) for path in (tmp_path / "uploads" / "hash-3").iterdir()}
    trim_uploads(10_000, 250, in_use)
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {f"hash-{age}" for age in range(4)}
    trim_uploads(250, 350, in_use)
    assert {path.name for path in (tmp_path / "uploads").iterdir()} == {"hash-0", "hash-1"}


def test_gradio_keeps_uploads_there_too():
    folder = server_folder()
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder / "uploads")
    assert (folder / OWNER).is_file()
