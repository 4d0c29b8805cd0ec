"""Compare the results of two checkouts: run the same small cases with the command line of both, and compare every figure.

    python tests/side_by_side.py OLD_ROOT NEW_ROOT [--only NAME ...] [--work DIR]

A change that must not alter results leaves every run "equal": each figure of the old report.json, the unlearned weights, the
pictures and the trajectory. Keys that only the new report has are ignored. The exit status is 1 if anything differs.
Each checkout needs a `.venv` (or a link to one). Results of the old side stay in --work, by commit, and are used again; delete
them after a change of the environment. Only one comparison at a time may use a --work folder.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

SHOWN, WIDTH = 5, 100  # differences printed per run, and characters of each value
IGNORED = {"seconds", "peak_memory_mib", "versions", "device"}  # of a report: they depend on the machine and its load
IGNORED_IN_RECIPE = {"weighting", "patience", "pictures"}  # fields that the redesign drops, and a path
MISSING = object()  # stands for a value that the new side lacks; it equals nothing


class Case(NamedTuple):
    """A run: its flags without the dashes, and the case whose unlearned model it starts from."""

    flags: dict[str, object]
    needs: str = ""


# fmt: off
SHORT = {"samples": 100, "replay": 128, "steps": 6, "preview-every": 3, "sampler-steps": 6, "batch-size": 8, "max-damage": 1,
         "device": "cpu"}
DIGIT = SHORT | {"model": "mnist-ddpm", "forget": "3", "step-size": 1e-2, "target": 0.045}
WORD = SHORT | {"model": "tiny-sd", "steps": 12, "preview-every": 6, "step-size": 3e-2, "target": 0.5}
CASES = {  # chosen so that the rates move, and a scale within the list is found
    "digit": Case(DIGIT),
    "own-images": Case(DIGIT | {"forget-source": "model", "step-size": 5e-3}),
    "few-images": Case(DIGIT | {"forget-images": 8, "target": 0.06}),
    "two-digits": Case(DIGIT | {"forget": "3, 8", "step-size": 8e-3, "target": 0.12}),
    "settles": Case(DIGIT | {"steps": 12, "preview-every": 2, "target": 0.08}),  # stops before its steps are spent
    "going-on": Case(DIGIT | {"forget": "8", "target": 0.1}, needs="digit"),
    "colour": Case(WORD | {"forget": "red"}),
    "garment": Case(WORD | {"forget": "sneaker"}),
    "photographs": Case(SHORT | {"model": "cifar10-ddpm", "forget": "deer", "steps": 2, "replay": 48, "samples": 50,
                                 "sampler-steps": 4, "target": 0.1}),  # of 48 images 2 show a frog, too few to learn from
    "foreign": Case(SHORT | {"model": "{work}/foreign/ddpm", "forget": "tint", "pictures": "{work}/foreign/pictures",
                             "keep": "{work}/foreign/keep", "method": "neggrad", "step-size": 2e-2, "target": 0.45}),
    "vdu": Case(DIGIT | {"method": "vdu", "step-size": 1e-1}),
    "neggrad": Case(DIGIT | {"method": "neggrad", "step-size": 5e-3, "max-damage": 0.4}),  # the damage bounds the scale
    "one-step": Case(DIGIT | {"method": "vdu", "optimizer": "one-step", "posterior": "fisher", "gamma": 0.02, "target": 0.06}),
}
# fmt: on


def make_foreign(folder: Path) -> None:
    """Write a 16×16 DDPM with random weights, pictures with a red tint, and pictures without one; nothing if they exist."""
    if folder.exists():
        return
    import torch  # here, because they take seconds to import and a comparison with a ready folder needs neither
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=16,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    scratch = folder.with_name("foreign-unfinished")
    shutil.rmtree(scratch, ignore_errors=True)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(scratch / "ddpm", safe_serialization=True)
    for kind, red in (("pictures", 0.61), ("keep", 0.37)):  # the model's own images lie between: every other one counts as red
        (scratch / kind).mkdir()
        shares = torch.tensor([red, 0.59, 0.39]).expand(40, 16, 16, 3)
        for number, pixels in enumerate(torch.bernoulli(shares).byte() * 255):
            Image.fromarray(pixels.numpy()).save(scratch / kind / f"{number:02d}.png")
    scratch.rename(folder)


def commit_of(root: Path) -> str:
    """The commit of a checkout, or "" if a file differs from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    return "" if git("status", "--porcelain", "--untracked-files=no") else git("rev-parse", "HEAD")


class Side:
    """One checkout and the folder of its runs, one per case; existing runs are not repeated."""

    def __init__(self, root: Path, folder: Path, work: Path) -> None:
        self.root, self.folder, self.work = root, folder, work

    def run(self, name: str) -> tuple[Path, float]:
        """The folder of a run and its seconds, 0 if it already existed; RuntimeError with the last output if it fails."""
        case, out = CASES[name], self.place(name)
        if out.exists():
            return out, 0.0
        start = {"model": self.run(case.needs)[0]} if case.needs else {}
        flags = [f"--{flag}={value}".format(work=self.work) for flag, value in (case.flags | start).items()]
        own = {"OMP_NUM_THREADS": "1", "VDU_CACHE": str(self.folder / "cache" / out.name)}
        command = [str(self.root / ".venv" / "bin" / "python"), "-m", "vdu", "unlearn", *flags, "--out", str(out)]
        started = time.monotonic()
        done = subprocess.run(command, cwd=self.root, env=os.environ | own, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.root}, exit status {done.returncode}: {done.stderr.strip()[-500:]}")
        return out, time.monotonic() - started

    def place(self, name: str) -> Path:
        """The folder of a case's run; other flags give another folder."""
        case, flags = CASES[name], []
        while case:
            flags, case = [*flags, case.flags], CASES.get(case.needs)
        return self.folder / f"{name}-{hashlib.sha256(json.dumps(flags).encode()).hexdigest()[:8]}"

    def result(self, name: str) -> tuple[dict[str, Any], float]:
        """The results of a run, as one tree of plain values, and its seconds."""
        out, seconds = self.run(name)
        report = json.loads((out / "report.json").read_text().replace(str(self.folder), "SIDE"))
        pixels = {name: Image.open(out / name).tobytes() for name in ("before.png", "after.png")}
        weights = {path.name: path.read_bytes() for path in sorted((out / "unlearned" / "unet").glob("*.safetensors"))}
        if not weights:
            raise RuntimeError(f"{out}: no unlearned weights")
        files = {name: hashlib.sha256(content).hexdigest() for name, content in (pixels | weights).items()}
        trajectory = (out / "trajectory.csv").read_text().splitlines()
        return {"report": report, "files": files, "trajectory": trajectory}, seconds


def ignored(path: tuple[object, ...]) -> bool:
    """Whether a value at this place may differ: ("report", "seconds"), ("report", "earlier", 0, "patience")."""
    if path[:2] in (("report", "recipe"), ("report", "earlier")):
        return path[-1] in IGNORED_IN_RECIPE
    return len(path) == 2 and path[1] in IGNORED


def differences(old: Any, new: Any, path: tuple[object, ...] = ()) -> Iterator[str]:
    """A sentence for each value of the old tree that is missing or different in the new one; new keys are fine."""
    if ignored(path):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from differences(value, new.get(key, MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for place, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, (*path, place))
    elif old != new:
        values = (repr(old)[:WIDTH], "missing" if new is MISSING else repr(new)[:WIDTH])
        yield f"{'.'.join(map(str, path))}: {' -> '.join(values)}"


def compare(name: str, sides: tuple[Side, Side]) -> bool:
    """Run a case on both sides and print a line; returns whether nothing differs."""
    try:
        (old, old_seconds), (new, new_seconds) = (side.result(name) for side in sides)
    except RuntimeError as error:
        print(f"{name}: failed in {error}", flush=True)
        return False
    found = list(differences(old, new))
    before, after = (old["report"][side]["forget_rate"] for side in ("before", "after"))
    verdict = f"{len(found)} differences" if found else "equal"
    what = f"forget rate {before:.3g} -> {after:.3g}, scale {old['report']['scale']:g}"
    print(f"{name}: {verdict} ({what}; {old_seconds:.0f} s + {new_seconds:.0f} s)")
    print("".join(f"    {line}\n" for line in found[:SHOWN]), end="", flush=True)
    return not found


def main() -> int:
    """Compare the chosen cases; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="root of the checkout whose results are right")
    parser.add_argument("new", type=Path, help="root of the checkout to compare with it")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="NAME", help=", ".join(CASES))
    parser.add_argument("--work", type=Path, default=Path("runs/side-by-side"), help="folder for the runs")
    arguments = parser.parse_args()
    old, new, work = (path.resolve() for path in (arguments.old, arguments.new, arguments.work))
    make_foreign(work / "foreign")
    kept, fresh = work / (commit_of(old) or "changed"), work / "new"
    for folder in (fresh, work / "changed"):  # neither can be trusted to be what the checkout computes now
        shutil.rmtree(folder, ignore_errors=True)
    sides = Side(old, kept, work), Side(new, fresh, work)
    equal = [compare(name, sides) for name in arguments.only]
    print(f"{sum(equal)} of {len(equal)} runs are equal")
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(main())
