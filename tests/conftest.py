"""What several tests need, and how they are shared out among processes. It imports little: every process starts with it."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from vdu.events import Event
    from vdu.run import Run

# Read by what is imported later, here and in the processes that tests start. Threads that wait for work would take the cores
# from the other processes, and no test may ask the network.
for name, value in (
    ("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "passive"), ("HF_HUB_OFFLINE", "1"), ("GRADIO_ANALYTICS_ENABLED", "False")
):  # fmt: skip
    os.environ.setdefault(name, value)
# Compiled files are kept, for dozens of processes import the same sources.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

QUICK = {"samples": 50, "replay": 24, "steps": 3, "preview_every": 2, "sampler_steps": 2, "batch_size": 2}
LIGHT = QUICK | {"steps": 1, "preview_every": 1}
QUICK_PROMPTS = LIGHT | {"model": "tiny-sd"}
MOST_PROCESSES = 4  # each takes ten seconds and a gigabyte to start
TOGETHER = {  # files whose tests share what takes long: a server and a browser, or finished runs
    "browser": ("page/test_runs.py", "page/test_visit.py", "page/test_proxy.py"),
    "runs": ("test_unlearn.py", "test_text_to_image.py", "test_run.py", "test_experiments.py", "methods/test_salun.py",
             "methods/test_erasediff.py", "methods/test_fine_tune.py", "methods/test_pbu.py", "methods/test_sfr_on.py",
             "page/test_gpu.py"),
}  # fmt: skip
# What takes longest comes first, so that no process is left alone with it at the end.
FIRST = (*TOGETHER["browser"], *TOGETHER["runs"], "bench/test_soak.py", "bench/test_folders.py", "test_cli.py",
         "test_scale.py", "test_own_pictures.py", "test_isolation.py", "test_own_models.py", "test_broken_models.py",
         "models/test_sdxl.py", "page/test_errors.py", "judges/test_fitted.py", "methods/test_hooks.py",
         "pretrain/test_photographs.py", "attacks/test_elsewhere.py", "test_extending.py", "test_house.py",
         "test_processes.py", "bench/test_retrain.py", "test_photographs.py", "models/test_hub.py", "test_samples.py",
         "bench/test_continual.py")  # fmt: skip


def pytest_xdist_auto_num_workers(config):
    """One process per core; none beside this one for a single file or on a single core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    files = {argument.split("::")[0] for argument in config.args}
    alone = cores == 1 or (len(files) == 1 and Path(*files).is_file())
    return 0 if alone else min(cores, MOST_PROCESSES)


def pytest_xdist_make_scheduler(config, log):
    """The tests of a file run in one process, as do those of files that belong together."""
    from xdist.scheduler import LoadFileScheduling

    groups = {f"tests/{file}": name for name, files in TOGETHER.items() for file in files}

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return groups.get(file, file)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """What takes longest comes first, see `FIRST`."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def batch():
    from line import line_batch

    return line_batch()


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Cache estimates in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_pyfunc_call(pyfuncitem):
    """Tests marked `own_loop` run in a thread, for the browser of other tests keeps an event loop running in the main one."""
    if pyfuncitem.get_closest_marker("own_loop"):
        test = pyfuncitem.obj
        pyfuncitem.obj = lambda **given: in_thread(test, **given)


def in_thread(function, **named):
    """Call a function in a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function, **named).result()


@pytest.fixture
def quick_layers(monkeypatch):
    """The posterior "layers" from 2 images of 15 steps and one gradient, in place of 48 and 16 of 8 images."""
    from vdu import posterior

    for name, less in (("LAYER_IMAGES", 2), ("LAYER_BATCHES", 1), ("LAYER_BATCH", 2)):
        monkeypatch.setattr(posterior, name, less)


class FinishedRun(NamedTuple):
    """A run and all its events, in order."""

    run: "Run"
    events: "list[Event]"


def carry_out(**changes) -> FinishedRun:
    """A quick run with some changes, from beginning to end."""
    from vdu.recipe import Recipe
    from vdu.run import Run
    from vdu.unlearn import unlearn

    run = Run(Recipe.from_dict(QUICK | changes))
    return FinishedRun(run, list(unlearn(run)))


def take_steps(**changes) -> FinishedRun:
    """A quick run until all its steps are taken: it has looked for no scale, and is not measured afterwards."""
    from vdu.events import Progress
    from vdu.recipe import Recipe
    from vdu.run import Run
    from vdu.unlearn import unlearn

    run, events = Run(Recipe.from_dict(QUICK | changes)), []
    with closing(unlearn(run)) as stream:
        for event in stream:
            if isinstance(event, Progress) and event.phase == "scale":
                break
            events.append(event)
    return FinishedRun(run, events)


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
