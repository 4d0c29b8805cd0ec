"""What a server does besides answering: free what nobody needs any more, and say whether it works."""

import gc
import logging
import sys
import threading
import time
from typing import Any

from vdu import worker
from vdu.estimate_cache import cache_folder
from vdu.estimate_cache import sweep as clear_cache
from vdu.models.loading import import_libraries
from vdu.page.errors import Studio
from vdu.page.panel import Page
from vdu.page.session import GIB
from vdu.workspace import own, server_folder, trim_uploads

SETTLE = 1.0  # seconds for the first page, before anything else is imported
EVERY = 10.0  # seconds between two sweeps
UNUSED = 300.0  # seconds for which an upload is kept that no visitor's page shows; a slow upload of many takes minutes
VISIT = 300.0  # seconds for which what a visitor has set is kept after they have left
STUCK = 120.0  # seconds after which a computation that gives no sign of life is stuck; others take a second

LOG = logging.getLogger("vdu")


def keep_clean(demo: Studio) -> None:
    """Sweep now and then, in a thread of its own, and let the log of runs be seen; clear what killed processes left."""
    if cache := cache_folder():
        clear_cache(cache)
    if not LOG.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        LOG.addHandler(handler)
        LOG.setLevel(logging.INFO)
        LOG.propagate = False
    threading.Thread(target=warm_up, name="vdu-warm-up", daemon=True).start()
    threading.Thread(target=sweep_forever, args=(demo,), name="vdu-sweeper", daemon=True).start()


def warm_up() -> None:
    """Import what the first run needs while the first visitor looks at the page; a run that comes earlier waits for it."""
    time.sleep(SETTLE)
    try:
        import_libraries()
    finally:
        gc.freeze()  # what is there from the start stays: looking through it again would take 0.7 s each time
        gc.enable()


def sweep_forever(demo: Studio) -> None:
    """Sweep every `EVERY` seconds."""
    while True:
        time.sleep(EVERY)
        try:
            sweep(demo.page)
            forget_visits(demo)
        except Exception:  # a full disk, say: the next sweep may do better
            LOG.exception("the sweep failed")


def sweep(page: Page) -> None:
    """Free the runs of visitors who have left, uploads that nobody uses or too many, and places that nobody waits in."""
    with page.turns.lock:
        page.turns.drop_ownerless()
    own(server_folder())
    freed = page.sessions.sweep()
    in_use = {path for preview in page.controls.previews.values() for path in preview.in_use(page.presence.is_here)}
    trim_uploads(int(page.settings.disk_gb * GIB), UNUSED, in_use)
    if freed:
        gc.collect()
        worker.trim()


def forget_visits(demo: Studio) -> None:
    """Drop what Gradio keeps of visitors who left a while ago: messages that nobody fetched, and 0.3 MB of settings each.

    A computer that slept for less finds the page as it was.
    """
    holder, queue, is_here = demo.state_holder, demo._queue, demo.page.presence.is_here
    for visitor in [visitor for visitor in holder.session_data if not is_here(visitor, VISIT)]:
        with holder.lock:
            holder.session_data.pop(visitor, None)
            holder.time_last_used.pop(visitor, None)
    for visitor, events in list(queue.pending_event_ids_session.items()):
        if not is_here(visitor, VISIT) and not any(event in queue.event_ids_to_events for event in events):
            queue.pending_event_ids_session.pop(visitor, None)
            queue.pending_messages_per_session.pop(visitor, None)


def health(page: Page) -> dict[str, Any]:
    """Whether the worker computes or is free to, and what there is to do."""
    busy = worker.busy_seconds()
    return {
        "ok": busy < STUCK,
        "busy_seconds": round(busy, 1),
        "running": page.turns.running is not None,
        "waiting": len(page.turns.waiting),
        "visitors": len(page.presence.streams),
        "runs_kept": len(page.sessions.kept),
    }
