"""`python -m vdu bench …`: each experiment's options, and what it runs."""

from pathlib import Path
from typing import Any

import click

from vdu.arguments import recipe_of, recipe_options
from vdu.bench.quality import ABLATION, COMPARED, SETTINGS
from vdu.bench.speed.cases import CASES
from vdu.bench.tune import TRIED, tune
from vdu.command import GOES_ON, NOTHING_WRITTEN, PATH, Commands, Real, Several, Whole
from vdu.errors import UserError
from vdu.methods import METHODS
from vdu.recipe import FIELDS
from vdu.stock import STOCK
from vdu.task import classes_of
from vdu.ticker import Ticker

ALL = "ablation"  # stands for all settings of the ablation
ROWS_KEPT = "--out keeps the rows that were finished"
SEED = Whole(0, FIELDS["seed"].high)
SEEDS = click.option(
    "--seeds", cls=Several, type=SEED, default=[0, 1, 2], help="Seeds of the runs; each seed has its own samples."
)
PLOTS = click.option("--plots", type=PATH, help="PNG to draw.")


def samples(default: int) -> Any:
    """The option --samples."""
    return click.option("--samples", type=Whole(50, FIELDS["samples"].high), default=default, help=FIELDS["samples"].help)


def out(name: str, help: str = "JSON to write, row by row.") -> Any:
    """The option --out."""
    return click.option("--out", type=PATH, default=name, help=help)


bench = Commands("bench", help="Repeat the experiments in the documentation.")


@bench.command("quality", params=recipe_options(("model",)), stopped=GOES_ON)
@click.option("--settings", cls=Several, type=click.Choice([*SETTINGS, ALL]), default=[*COMPARED], metavar="SETTING",
              help=f"Settings to compare; {ALL} stands for all parts of the paper's loss, tried apart.")  # fmt: skip
@click.option("--forget", cls=Several, metavar="WHAT", help="Classes or words to forget; by default all of the model's.")
@SEEDS
@samples(2000)
@click.option("--plots", type=PATH, help="PNG to draw: what forgetting costs in each setting.")
@out("quality.json")
def run_quality(settings: list[str], model: str, forget: list[str], plots: Path | None, **how: Any) -> None:
    """The quality table: every setting and class, several seeds."""
    from vdu.bench.quality import quality

    names = [name for given in settings for name in (ABLATION if given == ALL else [given])]
    quality(names, model, forget or classes_of(model), how["seeds"], how["samples"], how["out"], Ticker().line, plots)


@bench.command("pictures", params=recipe_options(("model", "forget")), stopped=GOES_ON)
@click.option("--methods", cls=Several, type=click.Choice([*METHODS]), default=["vdu-f", "vdu"], help="Methods to compare.")
@click.option("--counts", cls=Several, type=Whole(1, 500), default=[1, 4, 16, 64, 256], help="Numbers of real pictures.")
@SEEDS
@samples(1000)
@PLOTS
@out("pictures.json")
def run_pictures(model: str, forget: str, methods: list[str], counts: list[int], **how: Any) -> None:
    """Forget rate against the number of real pictures of the class."""
    from vdu.bench.pictures import pictures

    pictures(model, forget, methods, counts, how["seeds"], how["samples"], how["out"], Ticker().line, how["plots"])


@bench.command("tune", params=recipe_options(("model", "forget")), stopped=GOES_ON)
@click.option("--methods", cls=Several, type=click.Choice([*TRIED]), default=[*TRIED], help="Methods to tune.")
@click.option("--budget", type=Whole(1, 4), default=3, help="Settings tried per method, at most.")
@click.option("--page", type=PATH, help="Page to write the table into, between the model's marks.")
@samples(300)
@out("tune.json")
def run_tune(model: str, forget: str, methods: list[str], budget: int, page: Path | None, **how: Any) -> None:
    """A few settings of other papers' methods, and the best of each."""
    tune(methods, model, forget, budget, how["samples"], how["out"], Ticker().line, page)


@bench.command("retrained", stopped=ROWS_KEPT)
@click.option("--models", type=PATH, default="retrained", help="Folder that `pretrain retrained` wrote.")
@click.option("--methods", cls=Several, type=click.Choice([*METHODS]), metavar="METHOD",
              help="Methods to compare; by default vdu-f, vdu, its one-step form and neggrad.")  # fmt: skip
@SEEDS
@samples(2000)
@out("retrained.json")
def run_retrained(models: Path, methods: list[str], seeds: list[int], samples: int, out: Path) -> None:
    """How close unlearning comes to retraining without the class."""
    from vdu.bench.retrain import retrained

    retrained(models, seeds, samples, out, Ticker().line, methods)


@bench.command("continual", params=recipe_options(("model", "method", "steps", "max_damage", "seed")), stopped=ROWS_KEPT)
@click.option("--forget", cls=Several, metavar="WHAT", default=["3", "8", "5"], help="What to forget, in this order.")
@samples(1000)
@out("continual.json")
def run_continual(forget: list[str], out: Path, **values: Any) -> None:
    """One request after another, and all at once."""
    from vdu.bench.continual import continual

    continual(recipe_of(values | {"forget": forget[0]}), forget, out, Ticker().line)


@bench.command("timesteps", params=recipe_options(("model",)))
@click.option("--images", type=Whole(1, 500), default=50, help="Real images of each class.")
@PLOTS
@out("timesteps.json", "JSON to write.")
def run_timesteps(model: str, images: int, plots: Path | None, out: Path) -> None:
    """How much of an image's class is left at each timestep."""
    from vdu.bench.timesteps import timesteps

    timesteps(model, images, out, print, plots)


@bench.command("memory", stopped=ROWS_KEPT)
@click.option("--model", help="Folder of a Stable Diffusion; by default one of version 1 with random weights.")
@click.option("--batch-size", cls=Several, type=Whole(1, 64), default=[1, 4], help="Forget images per step.")
@click.option("--steps", type=Whole(2, 1000), default=6, help="Steps to take; the first is not timed.")
@click.option("--work", type=PATH, default="random-sd", help="Folder for the random weights, 4 GB.")
@out("memory.json", "JSON to write.")
def run_memory(model: str | None, batch_size: list[int], steps: int, work: Path, out: Path) -> None:
    """Time and memory of a step on a Stable Diffusion of full size."""
    from vdu.bench.memory import memory

    memory(model, batch_size, steps, work, out, print)


@bench.command("folders", stopped="nothing was written")
@out("docs/compatibility.md", "Markdown to write.")
def run_folders(out: Path) -> None:
    """Whether folders of many forms are drawn as by plain diffusers."""
    from vdu.bench.folders import folders

    if not folders(out, Ticker().line):
        raise UserError(f"Some folders are neither drawn as diffusers draws them nor refused for the right reason; see {out}.")


@bench.command("samplers", params=recipe_options(("model",)), stopped=ROWS_KEPT)
@click.option("--samplers", cls=Several, type=click.Choice([*STOCK]), default=[*STOCK][1:], help="Samplers to draw with.")
@click.option("--images", type=Whole(10, 1000), default=120, help="Images per sampler.")
@out("samplers.json")
def run_samplers(model: str, samplers: list[str], images: int, out: Path) -> None:
    """How well the samplers of plain diffusers draw a shipped model."""
    from vdu.bench.samplers import samplers as draw_with

    draw_with(model, samplers, images, out, Ticker().line)


@bench.command("guidance", stopped=ROWS_KEPT)
@click.option("--model", default="tiny-sd", help="A shipped model that takes prompts.")
@click.option("--forget", cls=Several, metavar="WHAT", help="Words to forget; by default all of the model's.")
@click.option("--guidance", type=Real(1, FIELDS["guidance"].high), default=7.5, help="Guidance to draw at afterwards.")
@click.option("--seed", type=SEED, default=0, help="Seed of the runs and of the samples.")
@click.option("--images", type=Whole(1, 100), default=12, help="Images of each thing, per guidance and model.")
@out("guidance.json")
def run_guidance(model: str, forget: list[str], guidance: float, seed: int, images: int, out: Path) -> None:
    """Whether a word is gone, and the rest kept, at another guidance."""
    from vdu.bench.guidance import at_guidance

    at_guidance(guidance, model, forget or classes_of(model), seed, images, out, Ticker().line)


@bench.command("soak", stopped=NOTHING_WRITTEN)
@click.option("--minutes", type=Real(0.02, 24 * 60), default=30, help="Minutes with thirty visitors; below 1, with two.")
@click.option("--out", type=PATH, help="Page to write the table into, between its marks.")
def run_soak(minutes: float, out: Path | None) -> int:
    """Thirty visitors of the page at once, and a hostile one."""
    from vdu.bench.soak import soak

    return 0 if soak(minutes, Ticker().line, out) else 1


@bench.command("speed", stopped=NOTHING_WRITTEN)
@click.option("--against", required=True, metavar="REVISION", help="Git revision of the older build.")
@click.option("--cases", cls=Several, type=click.Choice([*CASES]), default=["digit", "word"], help="Whole runs to time.")
@samples(1000)
@click.option("--repeats", type=Whole(1, 20), default=2, help="Runs and starts of each build; every run has its own seed.")
@click.option("--seed", type=Whole(0, FIELDS["seed"].high - 20), default=0, help="Seed of the first run.")
@click.option("--busy/--no-busy", default=False, help="Also time the present build beside a process that never waits.")
@click.option("--out", type=PATH, help="Page to write the tables into, between its marks.")
def run_speed(against: str, cases: list[str], samples: int, **how: Any) -> None:
    """Seconds, memory and quality, against an older revision."""
    from vdu.bench.speed import speed

    speed(against, cases, samples, how["repeats"], how["seed"], how["busy"], Ticker().line, how["out"])
