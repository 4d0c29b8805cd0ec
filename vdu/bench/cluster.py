"""Cells on the machines of a Ray cluster: `--cluster ADDRESS`.

Every cell is a task of its own with as many CPU threads as it would have had here, so its figures depend neither on the
number of workers nor on what else they do. Ray is only imported when a cluster is asked for.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import vdu
from vdu.bench.cells import Cell, Outcome, Show, carry_out, refusal_of
from vdu.errors import UserError, first_line
from vdu.events import Clock
from vdu.recipe import Recipe
from vdu.report import Report
from vdu.system import package_versions

LOCAL = "local"  # the address that starts workers on this machine, and ends them afterwards
ANNOUNCED = Path("/tmp/ray/ray_current_cluster")  # the address that `ray start` leaves, also when its processes were killed
PATIENCE = 5  # seconds to wait for a cluster to answer
RETRIES = 3  # times that a cell is run again after its worker was killed
COMPUTING = ("torch", "diffusers", "transformers", "vdu")  # packages whose versions figures depend on


def load_ray() -> ModuleType:
    """Import Ray with its usage reports off; call this before any long computation.

    Raises:
        UserError: if Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise UserError("--cluster needs Ray; install it with: pip install ray (the extra vdu-studio[cluster])") from error
    return ray


@dataclass(frozen=True)
class Cluster:
    """Runs cells on a cluster, as many at a time as it has CPUs and GPUs for.

    Attributes:
        address: host:port of the cluster, "auto" for the one that this machine belongs to, or `LOCAL`.
        show: called with the progress, in cells.
        threads: CPU threads per operation, and CPUs that each cell takes; None for as many as PyTorch takes here.
        cpus: what `LOCAL` shares out; None for the cores of this machine.
    """

    address: str
    show: Show
    threads: int | None = None
    cpus: int | None = None
    device: str = "cpu"  # models are opened here only to look at them; this machine may lack the cluster's GPUs

    def run(self, cells: Sequence[Cell]) -> Generator[Outcome, None, None]:
        """Run cells and yield each as it ends; see `Executor`.

        Raises:
            UserError: if there is no such cluster, or none of its machines is large enough for a cell.
        """
        ray, threads = load_ray(), self.threads or torch.get_num_threads()
        with connected(ray, self.address, self.cpus):
            needs = [needed(cell.recipe, threads, ray.nodes()) for cell in cells]
            facts = threads, str(Path.cwd()), versions()
            task = ray.remote(task_of(str(Path(vdu.__file__).parents[1])))
            running = {
                task.options(**need, max_retries=RETRIES).remote(cell.recipe.to_dict(), cell.digest, *facts): cell
                for cell, need in zip(cells, needs, strict=True)
            }
            clock = Clock("cells", len(cells))
            self.show(clock.progress(0))
            try:
                while running:
                    (done,), _ = ray.wait([*running], num_returns=1)
                    outcome = outcome_of(ray, done)
                    yield running.pop(done), outcome
                    self.show(clock.progress(len(cells) - len(running)))
            finally:
                for left in running:
                    ray.cancel(left, force=True)


@contextmanager
def connected(ray: ModuleType, address: str, cpus: int | None = None) -> Iterator[None]:
    """A connection to a cluster inside a `with` block.

    Raises:
        UserError: if there is no such cluster.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    started = {"include_dashboard": False, "num_cpus": cpus} if address == LOCAL else {}
    try:
        reach(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **started)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:  # of which ConnectionError and TimeoutError are
        if "InvalidAuthToken" in str(error):
            raise UserError(
                f"The Ray cluster at '{address}' wants a token: copy ~/.ray/auth_token from where it was started, and set "
                "RAY_AUTH_MODE=token."
            ) from error
        raise UserError(
            f"There is no Ray cluster at '{address}' that this machine belongs to ({first_line(error)}); start one with "
            f"`ray start --head` and give --cluster auto, or give --cluster {LOCAL}."
        ) from error
    try:
        with redirect_stdout(sys.stderr):  # Ray prints there, from a thread of its own, that a worker was killed
            yield
    finally:
        ray.shutdown()


def reach(address: str) -> None:
    """Look whether something answers at an address, for Ray itself would try for minutes.

    Raises:
        OSError: if nothing does.
        ValueError: if it is no address.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or (ANNOUNCED.read_text().strip() if ANNOUNCED.is_file() else "auto")
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    elif address not in (LOCAL, "auto"):
        raise ValueError("it is neither host:port nor auto")


def needed(recipe: Recipe, threads: int, machines: Sequence[dict[str, Any]]) -> dict[str, int]:
    """What a cell takes of a machine: `num_cpus`, and `num_gpus` if it runs on one.

    With the device "auto", that is on every machine's GPU if some machine has one, so that all cells are computed alike.

    Args:
        recipe: of the cell.
        threads: CPU threads per operation.
        machines: as `ray.nodes` lists them.

    Raises:
        UserError: if no machine has so much, for the cell would wait for ever.
    """
    having = [machine["Resources"] for machine in machines if machine["Alive"]]
    gpus = int(recipe.device == "cuda" or (recipe.device == "auto" and any(it.get("GPU", 0) >= 1 for it in having)))
    fitting = [it for it in having if it.get("GPU", 0) >= gpus]
    if not fitting:
        raise UserError("No machine of the cluster has a GPU; leave --device cuda out.")
    most = int(max(it.get("CPU", 0) for it in fitting))
    if most < threads:
        raise UserError(f"No machine of the cluster has {threads} CPUs for a cell; give --threads {max(1, most)} or less.")
    return {"num_cpus": threads, "num_gpus": gpus}


def outcome_of(ray: ModuleType, done: Any) -> Report | UserError:
    """The result of a finished task.

    Raises:
        RayTaskError: for a defect in the task.
    """
    try:
        left = ray.get(done)
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        return UserError(f"Its worker was killed {RETRIES + 1} times, perhaps for want of memory ({first_line(error)}).")
    return UserError(left) if isinstance(left, str) else left


def versions() -> dict[str, str]:
    """Package -> version, for the packages in `COMPUTING`."""
    return {name: version for name, version in package_versions().items() if name in COMPUTING}


def task_of(folder: str) -> Callable[..., Report | str]:
    """`work` as a task. A function inside a function travels as code, so it runs on workers that do not know `vdu` yet.

    Args:
        folder: where `vdu` lies on this machine; workers that lack the folder must have it installed.
    """

    def task(*arguments: Any) -> Any:
        import sys  # the module's own does not travel with it

        if folder not in sys.path:
            sys.path.insert(0, folder)
        try:
            from vdu.bench.cluster import work
        except ImportError as error:
            return f"A machine of the cluster lacks a package ({error}); install there what is installed here."
        return work(*arguments)

    return task


def work(recipe: dict[str, Any], digest: str, threads: int, folder: str, expected: dict[str, str]) -> Report | str:
    """A cell on a worker.

    Args:
        recipe, digest: of a `Cell`.
        threads: CPU threads per operation.
        folder: the working folder of the command, for relative paths; workers on other machines may lack it.
        expected: package -> version there.

    Returns:
        the report, or the reason why there is none.
    """
    with suppress(OSError):
        os.chdir(folder)
    if others := [f"{name} {version}" for name, version in versions().items() if expected.get(name) != version]:
        wanted = ", ".join(f"{name} {version}" for name, version in expected.items())
        return f"A machine of the cluster has {', '.join(others)}; install {wanted} there."
    try:
        return carry_out(Recipe.from_dict(recipe), digest, threads)
    except Exception as error:
        return str(refusal_of(error))
