"""What the server keeps of a run: its files all or none, and its figures in any case."""

import builtins
import errno
import io
import os

import pytest

from vdu.models import Model
from vdu.page.session import GIB, Session, Sessions
from vdu.page.settings import Settings


@pytest.fixture
def fail_at(monkeypatch):
    """Gives a function that lets the disk be full from the n-th file on that is opened for writing."""
    really = io.open
    count = 0

    def fail_at(place):
        nonlocal count
        count = 0

        def opened(file, mode="r", *arguments, **named):
            nonlocal count
            stream = really(file, mode, *arguments, **named)  # which leaves an empty file
            count += any(letter in mode for letter in "wxa+")
            if count == place:
                stream.close()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return stream

        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(io, "open", opened)

    return fail_at


def files_in(folder):
    """All that lies in a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_full_disk_leaves_the_figures_on_the_page_and_no_file(finished_run, fail_at, tmp_path):
    run = finished_run().run
    kept = {}
    for place in range(1, 100):
        folder = tmp_path / str(place)
        folder.mkdir()
        session = Session(run, folder)
        fail_at(place)
        view = session.finish()
        assert view.finished
        assert view.report["after"] == run.figures["after"]
        assert view.sheets
        if view.files:
            break
        kept[place] = files_in(folder) + files_in(session.public)
        assert view.problem == (
            "The figures on this page are right, but the files could not be written: the disk is full; run it again later."
        )
    assert len(kept) >= 8  # sheets, trajectory, the model's files, reports, picture, zip
    assert not any(kept.values())
    assert not view.problem
    assert {"run/report.json", "run/unlearned/model_index.json"} < {*files_in(folder)}
    assert {"before-after.png", "report.json"} < {*files_in(session.public)}
    session.free()
    assert files_in(session.public) == files_in(folder) == []


def test_a_model_that_vanishes_during_a_run_leaves_the_figures_on_the_page(finished_run, monkeypatch, tmp_path):
    def vanished(model, folder):
        folder.mkdir()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "unet/config.json")

    monkeypatch.setattr(Model, "save", vanished)
    view = Session(finished_run().run, tmp_path).finish()
    assert view.problem.startswith("The figures on this page are right, but the files could not be written: No such file")
    assert (view.files, files_in(tmp_path)) == ((), [])


class Kept:
    """Stands for a session that takes some memory and disk, in GiB."""

    def __init__(self, memory=0.0, disk=0.0):
        self.size = (int(memory * GIB), int(disk * GIB))
        self.freed = False

    def free(self):
        self.freed = True


def test_runs_of_visitors_who_left_go_and_then_the_oldest_over_a_bound():
    here = {"a", "b", "c", "d"}
    sessions = Sessions(Settings(memory_gb=2, disk_gb=5), lambda visitor, seconds: visitor in here)
    kept = {name: Kept(memory, disk) for name, memory, disk in [("a", 1, 0), ("b", 1, 1), ("c", 1, 1), ("d", 0, 4)]}
    for visitor, session in kept.items():
        sessions.keep(visitor, session)
    here.remove("c")
    assert sessions.sweep() == 1
    assert kept["c"].freed
    assert not kept["a"].freed  # 2 GiB of memory and 5 of disk, as many as are allowed
    sessions.keep("e", again := Kept(0, 0.5))
    here.add("e")
    assert sessions.sweep() == 2  # a goes first, and does not help
    assert [name for name, session in kept.items() if session.freed] == ["a", "b", "c"]
    assert not again.freed


def test_a_visitor_s_next_run_takes_the_place_of_the_last():
    sessions = Sessions(Settings(), lambda visitor, seconds: True)
    first, second = Kept(), Kept()
    sessions.keep("a", first)
    sessions.keep("a", second)
    assert first.freed
    assert sessions.kept == {"a": second}
