"""What the visitors of a page may do."""

import os
from dataclasses import dataclass
from importlib.util import find_spec

import gradio as gr

from vdu.catalog import CATALOG, LISTED
from vdu.errors import UserError
from vdu.judges.clip import CLIP
from vdu.judges.nudenet import NUDENET
from vdu.models import FULL_SIZE, pick_device
from vdu.task import PICTURES, kind_of

SHARED = {"run_minutes": 10.0, "runs_per_hour": 20}  # bounds of a server that strangers share


def on_space() -> bool:
    """Whether this runs as a Space on the hub."""
    return bool(gr.utils.get_space())


@dataclass(frozen=True)
class Settings:
    """The limits of a page.

    Attributes:
        any_model: for trusted visitors: they may use any model from the hub or this machine, with any judge and pictures.
        queue_length: how many runs may wait at once.
        waiting_per_visitor: how many of them may be of one visitor, beside the one that computes.
        visitors_per_address: how many of them may come from one network address.
        run_minutes: how long a run may take, by its estimate and then by the clock; 0 for no bound.
        runs_per_hour: how many runs a visitor may have per hour; 0 for no bound.
        memory_gb: memory that finished runs may take, in GiB; the runs unused for longest are forgotten first.
        disk_gb: disk that runs and uploads may take each, in GiB; the same.
        upload_limit: maximum size of an uploaded file, in Gradio's notation.
    """

    any_model: bool = False
    queue_length: int = 60
    waiting_per_visitor: int = 1
    visitors_per_address: int = 30
    run_minutes: float = 0
    runs_per_hour: int = 0
    memory_gb: float = 4
    disk_gb: float = 10
    upload_limit: str = "20mb"

    @property
    def models(self) -> list[tuple[str, str]]:
        """(title, name) of the models on offer: shipped models that have an example, then models from the hub."""
        shipped = [(entry.title, name) for name, entry in CATALOG.items() if (entry.folder / "example").is_dir()]
        return shipped + [(title, name) for name, title in LISTED.items()]

    def judges(self, takes_prompts: bool) -> list[tuple[str, str]]:
        """(title, name) of the judges on offer for a model that is not in the catalog."""
        if not takes_prompts:
            return [("The judge that fits the model", ""), ("A judge fitted on your pictures", PICTURES)]
        return [("CLIP, for any prompt", ""), *([("NudeNet, for nudity", NUDENET)] if find_spec("nudenet") else [])]

    @property
    def login(self) -> bool:
        """Whether visitors can log in: on a Space with hf_oauth. Elsewhere Gradio's login button raises on launch."""
        return bool(on_space() and os.environ.get("OAUTH_CLIENT_ID")) and find_spec("authlib") is not None

    def check_allowed(self, model: str, judge: str, pictures: str = "", device: str = "auto") -> None:
        """Refuse models, judges and folders that are not on offer.

        Raises:
            UserError: for any of them, and for a full-size model without a GPU, where a run would take hours.
        """
        if self.any_model:
            return
        offered = [*CATALOG, *LISTED]
        if model not in offered:
            raise UserError(f"'{model}' is not on offer here; choose one of {', '.join(offered)}.")
        if judge not in ("", CLIP, NUDENET) or pictures:
            raise UserError("This page takes no judge or folder by name; leave both out, or use the command line.")
        if kind_of(model) == FULL_SIZE and pick_device(device) == "cpu":
            raise UserError(f"'{model}' needs a GPU, and this machine has none; choose one of {', '.join(CATALOG)}.")
