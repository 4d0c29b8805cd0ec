"""What a server does beside answering."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from vdu import worker
from vdu.page import sweeper as module
from vdu.page.sweeper import STUCK, forget_visits, health, sweep
from vdu.page.uploads import Preview
from vdu.workspace import OWNER, is_alive, server_folder

pytestmark = pytest.mark.own_loop


class Page:
    """Stands for the page: a visitor "me" is here while `here` is true."""

    def __init__(self):
        self.here = True
        self.settings = SimpleNamespace(disk_gb=1)
        self.presence = SimpleNamespace(is_here=lambda visitor, seconds: self.here and visitor == "me", streams={"me": 1})
        self.turns = SimpleNamespace(lock=module.threading.RLock(), drop_ownerless=lambda: None, running=None, waiting=[])
        self.sessions = SimpleNamespace(sweep=lambda: 1, kept={})
        self.controls = SimpleNamespace(previews={"pictures": Preview()})


def test_an_upload_stays_while_a_page_shows_it(monkeypatch):
    page, folder = Page(), server_folder() / "uploads" / "hash"
    folder.mkdir(parents=True)
    (shown := folder / "a.png").write_bytes(b"no picture, and yet an upload")
    (other := folder / "b.png").write_bytes(b"of nobody")
    asyncio.run(page.controls.previews["pictures"].show([str(shown)], "mnist-ddpm", SimpleNamespace(session_hash="me")))
    monkeypatch.setattr(module, "UNUSED", -1.0)
    (server_folder() / OWNER).unlink()  # as a system does that clears away what is old
    sweep(page)
    assert is_alive((server_folder() / OWNER).read_text())
    assert shown.exists()
    assert not other.exists()
    page.here = False
    sweep(page)
    assert not folder.exists()
    assert page.controls.previews["pictures"].held == {}


def test_health_says_whether_the_worker_gives_signs_of_life(monkeypatch):
    page = Page()
    assert health(page) == {"ok": True, "busy_seconds": 0.0, "running": False, "waiting": 0, "visitors": 1, "runs_kept": 0}
    monkeypatch.setattr(worker, "BUSY", [time.monotonic() - STUCK - 1])
    assert not health(page)["ok"]


def test_a_sweep_that_fails_does_not_end_the_sweeping(monkeypatch, caplog):
    class Over(Exception):
        """Ends the test."""

    seen = []

    def fail(page):
        seen.append(page)
        raise OSError("the disk is full")

    def pause(seconds):
        if len(seen) == 2:
            raise Over

    monkeypatch.setattr(module, "sweep", fail)
    demo = SimpleNamespace(page="page")
    monkeypatch.setattr(module.time, "sleep", pause)
    with pytest.raises(Over):
        module.sweep_forever(demo)
    assert seen == ["page"] * 2


def test_nothing_is_kept_of_visitors_who_left_long_ago():
    page = Page()
    names = ("me", "gone", "computes")
    holder = SimpleNamespace(session_data=dict.fromkeys(names), time_last_used=dict.fromkeys(names), lock=threading.Lock())
    queue = SimpleNamespace(
        pending_event_ids_session={"me": {"a"}, "gone": {"b", "c"}, "computes": {"d", "e"}},
        pending_messages_per_session=dict.fromkeys(names),
        event_ids_to_events={"e": "under way"},
    )
    forget_visits(SimpleNamespace(state_holder=holder, _queue=queue, page=page))
    assert {*holder.session_data} == {*holder.time_last_used} == {"me"}
    assert {*queue.pending_event_ids_session} == {*queue.pending_messages_per_session} == {"me", "computes"}
