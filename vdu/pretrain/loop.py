"""A training loop that can be killed and resumed; it writes checkpoints, snapshots for a posterior, and a log.

The learning rate warms up, falls linearly, and stays constant for the last part of the run. Snapshots from the
constant part are draws around one optimum: their mean is the shipped model and mu*, their variance is sigma*^2
(SWAG-diagonal, Maddox et al. 2019).
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vdu.errors import UserError
from vdu.posterior import Posterior, from_checkpoints
from vdu.processes import agreed, average_gradients, is_main, mean, wait

Parameters = dict[str, Tensor]
Losses = Callable[[torch.Generator], tuple[Tensor, Tensor]]  # draws a batch; (loss to descend, loss to show)
MOMENTS = ("exp_avg", "exp_avg_sq")  # what AdamW stores per parameter


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Length and learning rate of a training run.

    Attributes:
        steps: total number of optimiser steps.
        batch_size: images per step.
        peak_rate: learning rate after the warm-up of `warmup` steps.
        floor_rate: learning rate of the constant last part.
        constant_from: where the constant part starts, as a share of `steps`.
        snapshots: how many snapshots of the raw weights to keep, evenly spread over the constant part.
        early: after this step the running average is saved as early.safetensors, for `Autoguidance`; 0 saves none.
    """

    steps: int
    batch_size: int = 64
    peak_rate: float = 1e-3
    floor_rate: float = 2e-4
    warmup: int = 100
    constant_from: float = 0.8
    snapshots: int = 20
    early: int = 0
    seed: int = 0

    def shortened(self, steps: int | None) -> Self:
        """The same with at most `steps` steps; None or 0 changes nothing."""
        return replace(self, steps=min(self.steps, steps or self.steps))

    def rate(self, step: int) -> float:
        """Learning rate of step `step`, counted from 0."""
        if step < self.warmup:
            return self.peak_rate * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1.0, self.constant_from * self.steps - self.warmup)
        return self.peak_rate + (self.floor_rate - self.peak_rate) * min(1.0, progress)

    def snapshot_steps(self) -> list[int]:
        """Steps after which a snapshot is taken."""
        first, last = self.constant_from * self.steps, self.steps
        return [round(first + (last - first) * (index + 1) / self.snapshots) for index in range(self.snapshots)]


def save_state(path: Path, step: int, tensors: dict[str, Parameters]) -> None:
    """Write groups of named tensors as one safetensors file, atomically."""
    flat = {
        f"{group}/{name}": tensor.detach().contiguous() for group, part in tensors.items() for name, tensor in part.items()
    }
    partial = path.with_suffix(".partial")
    save_file(flat, partial, metadata={"step": str(step)})
    partial.replace(path)


def load_state(path: Path) -> tuple[int, dict[str, Parameters]]:
    """Read what `save_state` wrote: (step, groups of named tensors)."""
    groups: dict[str, Parameters] = {}
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        for key in file.keys():  # noqa: SIM118 - not a dict
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    return step, groups


def load_average(network: nn.Module, path: Path) -> nn.Module:
    """Load the running average of a file that `save_state` wrote into a network; returns the network."""
    network.load_state_dict(load_state(path)[1]["ema"])
    return network.eval()


def snapshots_of(*runs: Path) -> Posterior:
    """The mean and variance of the snapshots of one or more training runs."""
    files = [file for work in runs for file in sorted(work.glob("snapshot-*.safetensors"))]
    return from_checkpoints(load_state(file)[1]["model"] for file in files)


@dataclass(frozen=True)
class State:
    """What changes from step to step of a run.

    Attributes:
        network: the network in training, on its device.
        average: name -> exponential moving average of a parameter.
        optimizer: the optimiser of the parameters.
    """

    network: nn.Module
    average: Parameters
    optimizer: torch.optim.AdamW

    @classmethod
    def fresh(cls, network: nn.Module, rate: float) -> "State":
        """The state before the first step."""
        named = dict(network.named_parameters())
        average = {name: parameter.detach().clone() for name, parameter in named.items()}
        return cls(network, average, torch.optim.AdamW(named.values(), lr=rate, weight_decay=1e-4, fused=True))

    @property
    def named(self) -> dict[str, nn.Parameter]:
        """The network's parameters by name."""
        return dict(self.network.named_parameters())

    def load(self, path: Path, weights: str) -> int:
        """Load what `save` wrote.

        Args:
            weights: "model" to resume with the raw weights, "ema" to start from their average.

        Returns:
            the number of steps that the run in `path` has taken.
        """
        updates, state = load_state(path)
        self.network.load_state_dict(state[weights])
        for name, parameter in self.named.items():
            self.average[name] = torch.empty_like(parameter).copy_(state["ema"][name]).detach()
            self.optimizer.state[parameter] = {
                key: torch.empty_like(parameter).copy_(state[key][name]).detach() for key in MOMENTS
            } | {"step": torch.tensor(float(updates), device=parameter.device)}
        return updates

    def save(self, path: Path, step: int) -> None:
        """Write everything that resuming needs."""
        moments = {key: {name: self.optimizer.state[value][key] for name, value in self.named.items()} for key in MOMENTS}
        save_state(path, step, {"model": self.network.state_dict(), "ema": self.average, **moments})

    def descend(self, loss: Tensor, step: int, rate: float) -> None:
        """Take step number `step`, counted from 0, and update the average."""
        values = list(self.named.values())
        self.optimizer.zero_grad()
        loss.backward()
        average_gradients(self.network)
        torch.nn.utils.clip_grad_norm_(values, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        decay = min(0.9995, (step + 1) / (step + 20))
        with torch.no_grad():
            torch._foreach_lerp_([self.average[name] for name in self.named], values, 1 - decay)


def claim(work: Path, config: Pace) -> None:
    """Write the configuration to a run's folder; if it holds one already, check that it is the same.

    Raises:
        ValueError: if `work` holds a run with another configuration.
    """
    work.mkdir(parents=True, exist_ok=True)
    settings = json.dumps(asdict(config), indent=1)
    config_file = work / "config.json"
    if config_file.exists() and json.loads(config_file.read_text()) != json.loads(settings):
        raise ValueError(f"{work} holds a run with other settings; use another folder or remove it")
    wait()  # no process writes before all have checked
    if is_main():
        config_file.write_text(settings)


def fit(
    network: nn.Module,
    losses: Losses,
    config: Pace,
    work: Path,
    save_every: int = 250,
    init: Path | None = None,
    device: str = "cpu",
) -> None:
    """Minimise a loss; write state.safetensors, snapshots and log.csv to `work`.

    A new run starts from the network as it is, or from `init`: the average weights and the optimiser's moments in the
    state.safetensors of an earlier run.

    Every step draws its random numbers from a generator seeded by (seed, step), so a run that was killed continues exactly
    as if it had not been killed. Several processes share every step and take the step that one process would take; the first
    process writes the files, and all wait until they are written.

    Args:
        network: the network to train, on its device.
        losses: draws a batch from a generator; returns the loss to descend and the loss to show, for this process's rows.
        device: device of that generator.

    Raises:
        ValueError: if `work` holds a run with another configuration.
        UserError: if processes see different states of the run, or the loss is not finite.
    """
    claim(work, config)
    state, state_file, first_step = State.fresh(network, config.peak_rate), work / "state.safetensors", 0
    if state_file.exists():
        first_step = state.load(state_file, "model")
    elif init:
        state.load(init, "ema")
    if agreed(first_step) != first_step:
        raise UserError(f"'{work}' is not the same folder for all processes; name one on a disk that all machines share.")

    started, shown = time.monotonic(), []
    for step in range(first_step, config.steps):
        loss, show = losses(torch.Generator(device).manual_seed(config.seed * 10_000_019 + step))
        state.descend(loss, step, config.rate(step))
        shown.append(show.detach())  # reading the value now would make a GPU wait
        done = step + 1
        saves = done % save_every == 0 or done == config.steps
        if saves:
            mean_loss = mean_shown(shown, done, work)
            shown.clear()
        if is_main():
            keep_weights(state, config, work, done)
            if saves:
                state.save(state_file, done)
                log(config, work, done, mean_loss, (time.monotonic() - started) / (done - first_step))
    wait()  # the caller reads these files


def mean_shown(shown: list[Tensor], done: int, work: Path) -> float:
    """The mean of the shown losses over all processes.

    Raises:
        UserError: if it is not finite.
    """
    mean_loss = mean(torch.stack(shown).mean()).item()
    if not math.isfinite(mean_loss):
        raise UserError(
            f"The training has diverged: the loss at step {done} is not finite. The last good state in '{work}' is kept; "
            "train on from it with a lower learning rate (peak_rate)."
        )
    return mean_loss


def keep_weights(state: State, config: Pace, work: Path, done: int) -> None:
    """Write the early average, or a snapshot, if it is due after `done` steps."""
    if done == config.early:
        save_state(work / "early.safetensors", done, {"ema": state.average})
    if done in config.snapshot_steps():
        save_state(work / f"snapshot-{done:06d}.safetensors", done, {"model": state.network.state_dict()})


def log(config: Pace, work: Path, done: int, mean_loss: float, pace: float) -> None:
    """Add a line to log.csv and print one; `pace` is in seconds per step."""
    with (work / "log.csv").open("a") as file:
        file.write(f"{done},{mean_loss:.5f},{config.rate(done - 1):.6f},{pace:.4f}\n")
    print(
        f"step {done}/{config.steps}  loss {mean_loss:.5f}  "
        f"{config.batch_size / pace:.0f} images/s  {pace * (config.steps - done) / 60:.0f} min left",
        flush=True,
    )


def minutes_of(run: Path) -> float:
    """Duration of a run of `fit` in minutes, estimated from its final pace; 0 if there is no log."""
    log = run / "log.csv"
    if not log.is_file():
        return 0.0
    done, _, _, seconds_per_step = map(float, log.read_text().splitlines()[-1].split(","))
    return done * seconds_per_step / 60
