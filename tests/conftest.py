"""What several tests need, and how they are shared out among processes. It imports little: every process starts with it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from vdu.events import Event
    from vdu.run import Run

# Read when torch is first imported, here or in what a test starts: threads that wait for work take the cores from the others.
for name, value in (("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "passive")):
    os.environ.setdefault(name, value)

QUICK = {"samples": 50, "replay": 48, "steps": 4, "preview_every": 2, "sampler_steps": 3, "batch_size": 4}
QUICK_PROMPTS = QUICK | {"model": "tiny-sd", "replay": 36, "sampler_steps": 2}
MOST_PROCESSES = 4  # each takes ten seconds and a gigabyte to start
BROWSER_FILES = ("test_page_runs", "test_page_visit", "test_page_who_pays")  # share a server and a browser


def pytest_xdist_auto_num_workers(config):
    """One process per core; none beside this one for a single file or on a single core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    files = {argument.split("::")[0] for argument in config.args}
    alone = cores == 1 or (len(files) == 1 and Path(*files).is_file())
    return 0 if alone else min(cores, MOST_PROCESSES)


def pytest_xdist_make_scheduler(config, log):
    """A file goes to one process, in the order in which they are collected."""
    from xdist.scheduler import LoadFileScheduling

    class FilesAndBrowser(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "browser" if Path(file).stem in BROWSER_FILES else file

    return FilesAndBrowser(config, log)


@pytest.fixture
def batch():
    from line import line_batch

    return line_batch()


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Estimates are kept in a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class FinishedRun(NamedTuple):
    """A run and all events of it, in order."""

    run: "Run"
    events: "list[Event]"


def carry_out(**changes) -> FinishedRun:
    """A quick run with some changes, from beginning to end."""
    from vdu.recipe import Recipe
    from vdu.run import Run
    from vdu.unlearn import unlearn

    run = Run(Recipe.from_dict(QUICK | changes))
    return FinishedRun(run, list(unlearn(run)))


@pytest.fixture(scope="session")
def finished_run(cache):
    """Gives a finished run by its changes of the quick recipe. Tests share it, and so must not change it."""
    finished = {}

    def run_of(**changes) -> FinishedRun:
        key = tuple(sorted((QUICK | changes).items()))
        if key not in finished:
            finished[key] = carry_out(**changes)
        return finished[key]

    return run_of
