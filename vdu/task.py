"""A task: the model, the concept to forget, the pictures of it, the judge and the reference that a recipe names."""

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from vdu.catalog import CATALOG, JUDGED, TRAIN_FIRST, Entry, entry_of
from vdu.concepts.base import Concept, ConceptRequest, history
from vdu.concepts.pictures import PictureConcept
from vdu.concepts.prompt import KEEP, PromptConcept
from vdu.data.forget_set import ForgetSet, PictureSource, UserPictures
from vdu.errors import UserError
from vdu.judges.base import Judge
from vdu.judges.clip import CLIP, ClipJudge
from vdu.judges.fitted import FittedJudge, backbone
from vdu.judges.nudenet import NUDENET, NudeNetJudge
from vdu.metrics import Evidence, Figures, measure
from vdu.metrics.reference import Reference
from vdu.models import (
    FULL_SIZE,
    PHOTOGRAPHS,
    SMALL,
    UNCONDITIONAL,
    WEIGHT_FILES,
    WEIGHTS,
    Model,
    family_of,
    hub,
    kind_in,
    load_model,
    part_of,
    pick_device,
)
from vdu.recipe import Recipe, resolve
from vdu.samples import Samples

PICTURES = "pictures"  # the judge that is fitted on a user's pictures


@dataclass
class Task:
    """Everything a run works on.

    Attributes:
        recipe: with every open field filled.
        model: a private copy; its weights are shared until `train_only` gives it those that change.
        concept: what is to be forgotten.
        judge: who sees it.
        reference: real pictures to measure against.
        source: where real pictures of the concept come from.
    """

    recipe: Recipe
    model: Model
    concept: Concept
    judge: Judge
    reference: Reference
    source: PictureSource
    _forget_set: list[ForgetSet | None] = field(default_factory=list, repr=False)

    def forget_set(self) -> ForgetSet | None:
        """The real pictures of the concept, read once; None for none.

        Raises:
            UserError: if a user's pictures are not to be had.
        """
        if not self._forget_set:
            self._forget_set.append(self.source.forget_set(self.concept))
        return self._forget_set[0]

    def measure(self, samples: Samples, before: Samples | None = None) -> Figures:
        """All figures of the model that drew the samples; with what it drew before it was changed, also how far it moved."""
        return measure(Evidence(samples, self.concept, self.reference, self.judge.error_rates, before))


def open_task(recipe: Recipe, start: str = "") -> Task:
    """Open what a recipe names.

    Args:
        recipe: fields that are open are filled.
        start: folder of a model that an earlier run left, to go on from there in place of the recipe's model.

    Raises:
        UserError: if there is no such model, nothing can judge it, or the request makes no sense for it.
    """
    recipe = resolve(recipe, kind_of(recipe.model))
    name = start or recipe.model
    model, folder, entry = open_model(name, pick_device(recipe.device))
    return Task(recipe, model, *choose_judge(name, model, folder, entry, recipe.request))


Parts = tuple[Concept, Judge, Reference, PictureSource]


def choose_judge(name: str, model: Model, folder: Path, entry: Entry | None, request: ConceptRequest) -> Parts:
    """Who judges a model, and with it what the request means.

    A model of the catalog has its own judge; so has any other whose images have the shape of one there. The request overrides
    that when it names a judge or pictures (text-to-image), or the judge `PICTURES` or pictures of a class that the catalog
    lacks (unconditional).

    Raises:
        UserError: if nothing can judge the model, or the request makes no sense for it.
    """
    own, fit = bool(request.judge or request.pictures), request.judge == PICTURES
    if model.takes_prompts and fit:
        raise UserError(f"'{name}' takes words, and is judged by them; leave --judge {PICTURES} out.")
    shipped = not fit and not (own and model.takes_prompts)
    if entry and shipped:
        return shipped_parts(entry, folder, request)
    for like in JUDGED if shipped else ():
        fits = (like.shape, like.takes_prompts) == (model.image_shape, model.takes_prompts)
        if fits and not (own and not knows(like, request.forget)):
            return shipped_parts(like, folder, request)
    return (prompt_parts if model.takes_prompts else picture_parts)(name, model, folder, request)


def shipped_parts(entry: Entry, folder: Path, request: ConceptRequest) -> Parts:
    """The judge of a catalog entry.

    Raises:
        UserError: for prompts to keep, or a judge of prompts, where the model takes none.
    """
    if not entry.takes_prompts and request.keep:
        raise UserError(f"{entry.name} draws without words; there are no prompts to keep.")
    if not entry.takes_prompts and request.judge:
        raise UserError(
            f"{entry.name} draws without words, and its own judge is the one that fits; leave the judge out, or let "
            f"one be fitted on your pictures (judge {PICTURES})."
        )
    concept = entry.concept(request.forget, request.keep)
    if folder != entry.folder:
        concept = replace(concept, forgotten=known_history(folder, concept))
    source = UserPictures(request.pictures, entry.shape) if request.pictures else entry.pictures
    return concept, entry.judge, reference_of(entry), source


@lru_cache
def reference_of(entry: Entry) -> Reference:
    """Statistics of the real pictures that ship with an entry, loaded once."""
    return Reference(entry.folder, lambda name: entry.judge.judge(entry.pictures.examples(name))[1])


def prompt_parts(name: str, model: Model, folder: Path, request: ConceptRequest) -> Parts:
    """A judge for a user's own prompt: CLIP, or NudeNet, which looks for nothing else and so for nothing forgotten before."""
    nudity = request.judge == NUDENET
    concept = PromptConcept.of(name, request, () if nudity else history(folder)["forgotten"], names_kept=not nudity)
    judge = NudeNetJudge(concept.classes) if nudity else ClipJudge(request.judge or CLIP, concept.classes, concept.judge_texts)
    return concept, judge, Reference(), UserPictures(request.pictures, model.image_shape)


def picture_parts(name: str, model: Model, folder: Path, request: ConceptRequest) -> Parts:
    """A judge fitted on a user's pictures."""
    concept = PictureConcept.of(name, request, backbone().classes)
    keep = request.keep[0] if request.keep else ""
    judge = FittedJudge(name, concept.axes, model.image_shape, request.pictures, keep)
    return concept, judge, Reference(), UserPictures(request.pictures, model.image_shape)


def known_history(folder: Path, concept: Concept) -> tuple[str, ...]:
    """Display names of what earlier runs made a model forget, as far as the concept's model knows them."""
    known = []
    for name in history(folder)["forgotten"]:
        with suppress(UserError):
            known.append(concept.display_name_of(name))
    return tuple(dict.fromkeys(known))


def knows(entry: Entry, forget: str) -> bool:
    """Whether `forget` means something to an entry."""
    with suppress(UserError):
        return bool(entry.concept(forget).meanings(forget))
    return False


def kind_of(name: str) -> str:
    """Which of the kinds that have defaults a catalog name, a folder or a hub id means.

    Of a hub id that is not listed the configuration is fetched, some kilobytes; where it is not to be had, the model is taken
    for full-size.
    """
    if entry := entry_of(name):
        return SMALL if entry.takes_prompts else UNCONDITIONAL if entry.shape[0] == 1 else PHOTOGRAPHS
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        if not folder.is_dir() and hub.is_id(name) and name not in hub.LISTED:
            folder = hub.fetch(name, ())
        return kind_in(folder)
    return FULL_SIZE if hub.is_id(name) else UNCONDITIONAL


def classes_of(name: str) -> tuple[str, ...]:
    """The classes of a model.

    Raises:
        UserError: if there is no such model, or nothing is known of its classes.
    """
    if entry := entry_of(name):
        return entry.classes
    model, _, _ = open_model(name, "cpu")
    if like := like_of(model):
        return like.classes
    raise UserError(f"'{name}' has no classes that are known here; choose one of {', '.join(CATALOG)}.")


def like_of(model: Model) -> Entry | None:
    """The entry whose judge fits a model's images: the first of that shape which takes prompts as the model does."""
    wanted = (model.image_shape, model.takes_prompts)
    return next((entry for entry in JUDGED if (entry.shape, entry.takes_prompts) == wanted), None)


def sample_prompts(name: str, model: Model) -> tuple[str | None, ...]:
    """Prompts that together show what a model draws; (None,) for a model without prompts."""
    if not model.takes_prompts:
        return (None,)
    if entry := entry_of(name) or like_of(model):
        return entry.concept(entry.classes[0]).prompts
    return ("anything", *KEEP)


def shape_of(name: str) -> tuple[int, int, int] | None:
    """(c, h, w) of a model's images, by a catalog name or the folder of a model without prompts; else None."""
    if entry := entry_of(name):
        return entry.shape
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        unet = json.loads((part_of(folder, "unet") / "config.json").read_text())
        if not family_of(folder).takes_prompts:
            size = unet["sample_size"]
            return unet["in_channels"], *(size if isinstance(size, list) else (size, size))
    return None


def model_folder(name: str) -> Path:
    """The diffusers folder that a path means: itself, or the unlearned model in what `unlearn --out` left."""
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:  # ~ of somebody who is not here
        raise UserError(f"There is no folder '{name}'; write its path in full.") from error
    return folder / "unlearned" if (folder / "unlearned").is_dir() else folder


def open_model(name: str, device: str) -> tuple[Model, Path, Entry | None]:
    """A model by a catalog name, a local diffusers folder, a folder that `unlearn --out` left, or a hub id.

    Returns:
        a private copy, which shares all weights until `train_only` gives it those that change; its folder; and its entry in
        the catalog, if it has one.

    Raises:
        UserError: if there is no such model.
    """
    if name in CATALOG:
        return cached_model(CATALOG[name].folder, device), CATALOG[name].folder, CATALOG[name]
    if name in TRAIN_FIRST:
        raise UserError(f"'{name}' is not in the box; train it first, on a GPU: {TRAIN_FIRST[name]}")
    folder = model_folder(name)
    if not folder.is_dir():
        if not hub.is_id(name):
            raise UserError(f"There is no model '{name}'; choose one of {', '.join(CATALOG)}, a diffusers folder or a hub id.")
        folder = hub.fetch(name, WEIGHT_FILES)
    try:
        return cached_model(folder, device), folder, None
    except UserError as error:  # said of the name that was given, not of a place in the hub's cache
        raise UserError(str(error).replace(str(folder.resolve()), name)) from error


def cached_model(folder: Path, device: str) -> Model:
    """A copy of the model in a folder, which is read again only if its weights have changed."""
    weights = part_of(folder, "unet") / WEIGHTS
    return _pristine(folder.resolve(), device, weights.stat().st_mtime if weights.is_file() else 0.0).clone()


@lru_cache(maxsize=4)
def _pristine(folder: Path, device: str, changed: float) -> Model:
    model = load_model(folder, device)
    model.unet.requires_grad_(False)
    return model
