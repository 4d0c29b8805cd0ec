"""Cells on a Ray cluster: what is asked of its machines, and that a killed worker costs time but no cell."""

import json
import secrets
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import LIGHT

from vdu.bench import cluster
from vdu.bench.cells import Cell, Here
from vdu.bench.cluster import Cluster, connected, needed, versions, work
from vdu.cli import main
from vdu.errors import UserError
from vdu.recipe import Recipe, resolve
from vdu.task import kind_of, open_model

AUTO, CUDA, CPU = (Recipe(device=device) for device in ("auto", "cuda", "cpu"))


def machines(*resources):
    """What Ray lists of some machines."""
    return [{"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}} for cpus, gpus in resources]


def test_a_cell_takes_its_threads_and_a_gpu_where_there_are_some():
    assert needed(AUTO, 2, machines((2, 0), (8, 0))) == {"num_cpus": 2, "num_gpus": 0}
    assert needed(AUTO, 2, machines((2, 0), (8, 1))) == {"num_cpus": 2, "num_gpus": 1}
    assert needed(CPU, 2, machines((2, 1))) == {"num_cpus": 2, "num_gpus": 0}
    with pytest.raises(UserError, match="has a GPU"):
        needed(CUDA, 1, machines((2, 0)))
    with pytest.raises(UserError, match="has 4 CPUs for a cell; give --threads 2 or less"):
        needed(AUTO, 4, machines((2, 1), (8, 0)))
    gone = [machine | {"Alive": False} for machine in machines((8, 0))]
    with pytest.raises(UserError, match="--threads 2"):
        needed(AUTO, 4, gone + machines((2, 0)))


@pytest.mark.parametrize(
    "command", [["sweep", "arena"], ["compare", "--model", "mnist-ddpm", "--forget", "3", "--methods", "vdu"]]
)
def test_without_ray_it_says_so_before_anything_is_computed(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*command, "--out", str(tmp_path / "new"), "--cluster", "local"]) == 2
    error = capsys.readouterr().err
    assert error == "vdu: --cluster needs Ray; install it with: pip install ray (the extra vdu-studio[cluster])\n"
    assert not list(tmp_path.iterdir())


def cell_of(**changes):
    """A quick cell."""
    recipe = resolve(Recipe.from_dict(LIGHT | {"model": "mnist-ddpm"} | changes), kind_of("mnist-ddpm"))
    return Cell(recipe, open_model("mnist-ddpm", "cpu")[0].digest, f"seed {recipe.seed}")


def test_a_worker_with_other_packages_or_weights_refuses_a_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = cell_of().recipe.to_dict()
    assert "torch 0.1" in work(recipe, "digest", 1, str(tmp_path), versions() | {"torch": "0.1"})
    assert "has other weights" in work(recipe, "digest", 1, "/nowhere", versions())
    assert "no class 'cat'" in work(recipe | {"forget": "cat"}, "digest", 1, str(tmp_path), versions())


@pytest.fixture(scope="module")
def private():
    """A token of the tests' own, which Ray reads once per process, so that it leaves none in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        yield


@pytest.mark.parametrize("address", ["localhost:1", "localhost:port", "nowhere", "ray://localhost:1", "auto"])
def test_no_cluster_at_the_address_is_one_sentence(address, private, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANNOUNCED", tmp_path / "left")
    (tmp_path / "left").write_text("localhost:1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=rf"no Ray cluster at '{address}' .* or give --cluster local\."):
        list(Cluster(address, lambda event: None, 1).run([cell_of()]))


def test_a_cluster_that_wants_a_token_is_one_sentence():
    def init(**settings):
        raise RuntimeError("Failed to connect to GCS.\nRPC error: InvalidAuthToken: missing or incorrect")

    with (
        pytest.raises(UserError, match=r"wants a token: copy ~/.ray/auth_token"),
        connected(SimpleNamespace(init=init), "local"),
    ):
        pass


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_cell_run_again(private, tmp_path, monkeypatch, capfd):
    def task_of(folder):
        def task(recipe, digest, threads, place, expected):
            import os
            import pathlib
            import signal
            import time

            mark = pathlib.Path(place, f"{recipe['seed']}-{time.monotonic_ns()}")
            mark.write_text(str(os.getpid()))
            if recipe["seed"] == 1 and len([*mark.parent.glob("1-*")]) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            while not {path.name[0] for path in mark.parent.iterdir()} >= {"0", "1"}:
                time.sleep(0.05)  # two at the same time
            return "no such thing" if recipe["seed"] == 2 else {"recipe": recipe}

        return task

    monkeypatch.setattr(cluster, "task_of", task_of)
    monkeypatch.chdir(tmp_path)
    shown, cells = [], [Cell(replace(cell_of().recipe, seed=seed), "", str(seed)) for seed in range(4)]
    outcomes = dict(Cluster("local", shown.append, 1, cpus=2).run(cells))
    assert {cell.name: outcomes[cell]["recipe"]["seed"] for cell in cells if cell.name != "2"} == {"0": 0, "1": 1, "3": 3}
    assert str(outcomes[cells[2]]) == "no such thing"
    assert len([*tmp_path.glob("1-*")]) == 2
    assert capfd.readouterr().out == "", "only the path of the tables belongs there"
    assert [(progress.done, progress.total) for progress in shown] == [(done, 4) for done in range(5)]


@pytest.mark.slow
def test_figures_do_not_depend_on_the_number_of_workers(private):
    cells = [cell_of(seed=seed, method=method) for method in ("vdu-f", "salun") for seed in (0, 1)]
    here = dict(Here(lambda event: None, 1).run(cells))
    there = dict(Cluster("local", lambda event: None, 1, cpus=2).run(cells))
    for cell in cells:
        one, other = (json.loads(json.dumps(outcomes[cell])) for outcomes in (here, there))
        for report in (one, other):
            del report["seconds"], report["peak_memory_mib"]
        assert one == other
