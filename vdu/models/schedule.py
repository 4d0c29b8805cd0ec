"""A folder's noise schedule, by the scheduler class that it was saved with; how that class samples does not matter here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vdu.errors import UserError, quoted
from vdu.models.files import read_settings

if TYPE_CHECKING:
    from diffusers import DPMSolverMultistepScheduler, SchedulerMixin

TIMESTEPS = 1000  # of a noise schedule; timesteps in a recipe lie in 0 … TIMESTEPS - 1
PREDICTIONS = ("epsilon", "v_prediction", "sample")  # supported outputs of a network
# Least alpha-bar_t at which x_0 is computed from a predicted epsilon, (x_t - sqrt(1 - alpha-bar) epsilon) / sqrt(alpha-bar).
# At 2.5e-5 an error of epsilon counts 200 times in x_0; the linear schedule of DDPM (Ho et al. 2020) ends at 4e-5.
LEAST_SIGNAL = 2.5e-5
NUMBERS = {  # setting of a scheduler -> its type
    "num_train_timesteps": (int, "a whole number"),
    "beta_start": (int | float, "a number"),
    "beta_end": (int | float, "a number"),
}
NEARLY_ZERO = 2.0**-24  # what diffusers' solvers put for alpha-bar = 0, so that their log-SNR is finite


def read_schedule(folder: Path, name: str, where: Path, pipeline: str = "") -> "SchedulerMixin":
    """The scheduler of a model, for its noise schedule: `alphas_cumprod`, `betas` and `config.prediction_type`.

    Args:
        folder: the model's folder, for messages; name: the class in model_index.json; where: the folder of its configuration.
        pipeline: the model's pipeline class.

    Raises:
        UserError: if the forward process is not DDPM's, q(x_t | x_0) = N(sqrt(alpha-bar_t) x_0, 1 - alpha-bar_t) with
            alpha-bar_t = prod (1 - beta_s), or if the network predicts something else than epsilon, v or x_0.
        OSError, ValueError, TypeError, NotImplementedError: if the configuration cannot be read.
    """
    import diffusers

    kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise UserError(f"'{folder}' has a {name}, which is not a scheduler of diffusers {diffusers.__version__}.")
    check_numbers(where / "scheduler_config.json")
    scheduler = kind.from_pretrained(where, local_files_only=True)
    if reason := misfit(scheduler):
        raise UserError(f"'{folder}' cannot be unlearned: {reason}.")
    if pipeline == "DDIMPipeline":  # it makes a DDIMScheduler of any other, by the settings that both have
        used = diffusers.DDIMScheduler.from_config(scheduler.config)
        if not torch.allclose(used.alphas_cumprod, scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6):
            raise UserError(
                f"'{folder}' is a DDIMPipeline, which cannot draw with a {name}'s betas; save it as a DDPMPipeline."
            )
        return used
    return scheduler


def check_numbers(path: Path) -> None:
    """Look at the numbers of a scheduler's configuration.

    Raises:
        UserError: if it cannot be read, or one of `NUMBERS` is of another type.
    """
    config = read_settings(path)
    for key, (types, what) in NUMBERS.items():
        value = config.get(key, 0)
        if not isinstance(value, types) or isinstance(value, bool):
            raise UserError(f"'{path}' has {key} {quoted(value)}, which must be {what}; correct it.")
    betas = config.get("trained_betas")
    if betas is not None and not (isinstance(betas, list) and all(isinstance(beta, int | float) for beta in betas)):
        raise UserError(f"'{path}' has trained_betas that are no list of numbers; correct them.")


def misfit(scheduler: Any) -> str | None:
    """Why a model with this scheduler cannot be unlearned, as the end of a sentence; None if it can."""
    config, name = scheduler.config, type(scheduler).__name__
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction" or "Flow" in name:
        return f"its {name} is set for flow matching, whose noise schedule is not DDPM's"
    betas, alpha_bar = getattr(scheduler, "betas", None), getattr(scheduler, "alphas_cumprod", None)
    if betas is None or alpha_bar is None:
        return f"its {name} has no alpha-bar_t, so its noise schedule is not DDPM's"
    if (steps := len(alpha_bar)) != TIMESTEPS:
        return f"it has {steps:,} timesteps, and only models with {TIMESTEPS:,} can be"
    if (predicts := config.get("prediction_type", "epsilon")) not in PREDICTIONS:
        return f"it predicts '{predicts}', and only models that predict {' or '.join(PREDICTIONS)} can be"
    if config.get("timestep_type", "discrete") != "discrete":
        return f"its network takes {config['timestep_type']} timesteps, where DDPM's are whole numbers"
    if not (betas[:-1].gt(0) & betas[:-1].lt(1)).all() or not 0 < betas[-1] <= 1:
        return "its betas do not all lie between 0 and 1"
    expected = torch.cumprod(1 - betas.double(), dim=0)
    if not torch.allclose(alpha_bar.double(), expected, rtol=1e-3, atol=1e-6):
        return f"its {name} has alpha-bar_t that do not follow from its betas, so its noise schedule is not DDPM's"
    return None


def prediction_of(scheduler: Any) -> str:
    """What the network predicts, one of `PREDICTIONS`."""
    return str(scheduler.config.get("prediction_type", "epsilon"))


def first_timestep(alpha_bar: Tensor, prediction: str) -> int:
    """The noisiest timestep from which a sampler can start.

    T - 1, but for a network that predicts epsilon the last timestep with alpha-bar_t of at least `LEAST_SIGNAL`: x_t is noise
    there all the same, and what such a network knows of x_0 at a smaller alpha-bar is its error.
    """
    return int((alpha_bar >= LEAST_SIGNAL).sum()) - 1 if prediction == "epsilon" else len(alpha_bar) - 1


def clips(scheduler: Any) -> bool:
    """Whether x_0 must be clipped to -1 … 1 on the way to an image.

    So it is where epsilon is predicted, the schedule ends so near alpha-bar = 0 that sampling starts later, and the folder's
    sampler clips. The large errors of the first x_0 would stay in the image.
    """
    late = first_timestep(scheduler.alphas_cumprod, prediction_of(scheduler)) < TIMESTEPS - 1
    return bool(late and scheduler.config.get("clip_sample") and scheduler.config.get("clip_sample_range", 1.0) == 1.0)


def make_solver(scheduler: Any, algorithm: str, clip: bool = False) -> "DPMSolverMultistepScheduler":
    """DPM-Solver++ with a model's noise schedule, and with no setting of the model's own sampler.

    Args:
        scheduler: see `read_schedule`; algorithm: "dpmsolver++" or "sde-dpmsolver++".
        clip: whether x_0 is clipped to -1 … 1 in every step.
    """
    from diffusers import DPMSolverMultistepScheduler

    solver = DPMSolverMultistepScheduler(
        trained_betas=scheduler.betas.numpy(),
        algorithm_type=algorithm,
        prediction_type=prediction_of(scheduler),
        thresholding=clip,
        sample_max_value=1.0,  # dynamic thresholding with this bound is clipping
    )
    # The betas alone do not tell it that alpha-bar was made zero at the end.
    solver.alphas_cumprod = scheduler.alphas_cumprod.clamp_min(NEARLY_ZERO)
    return solver
