"""A task: what a recipe names, opened: the model, the concept to forget, its pictures, the judge and the reference."""

import re
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import torch

from vdu.catalog import CATALOG, LISTED, TRAIN_FIRST, WITH_JUDGE, Entry, entry_of
from vdu.concepts.base import Concept, ConceptRequest, history
from vdu.concepts.pictures import PictureConcept
from vdu.concepts.prompt import KEEP, PromptConcept
from vdu.data.forget_set import ForgetSet, PictureSource, UserPictures
from vdu.errors import UserError, first_line
from vdu.events import Progress
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
    Model,
    family_of,
    hub,
    kind_in,
    load_model,
    part_of,
    pick_device,
)
from vdu.models.digest import copy_weights, folder_digest
from vdu.reading import read_json
from vdu.recipe import Recipe, resolve
from vdu.samples import Samples
from vdu.sampling import run_to_end

PICTURES = "pictures"  # names the judge that is fitted on a user's pictures


@dataclass
class Task:
    """Everything that a run works on.

    Attributes:
        recipe: the recipe, with every open field filled.
        model: a private copy; it shares its weights with other copies until `train_only` copies the ones that change.
        concept: the concept to forget.
        judge: decides what an image shows.
        reference: real pictures to measure against.
        source: the source of real pictures of the concept.
    """

    recipe: Recipe
    model: Model
    concept: Concept
    judge: Judge
    reference: Reference
    source: PictureSource
    _forget_set: list[ForgetSet | None] = field(default_factory=list, repr=False)

    def read_pictures(self) -> Generator[Progress, None, ForgetSet | None]:
        """Read the real pictures of the concept, once; None if there are none.

        Raises:
            UserError: if a user's pictures cannot be read or fetched.
        """
        if not self._forget_set:
            self._forget_set.append((yield from self.source.read(self.concept)))
        return self._forget_set[0]

    def forget_set(self) -> ForgetSet | None:
        """What `read_pictures` returns, in one go if it is not read yet."""
        return run_to_end(self.read_pictures())

    @property
    def notes(self) -> list[str]:
        """Sentences on the files of a user's pictures, as far as these have been read."""
        of_sets = [note for found in self._forget_set if found for note in found.notes]
        of_judge = self.judge.notes if isinstance(self.judge, FittedJudge) else ()
        return list(dict.fromkeys([*of_sets, *of_judge]))

    def measure(self, samples: Samples, before: Samples | None = None) -> Figures:
        """All figures of the model that drew `samples`; with the untouched model's samples `before`, also how far it moved."""
        return measure(Evidence(samples, self.concept, self.reference, self.judge.error_rates, before))


def open_task(recipe: Recipe, start: str = "", device: str = "") -> Task:
    """Open everything that a recipe names.

    Args:
        recipe: its open fields are filled.
        start: folder of a model that an earlier run left, to continue from instead of the recipe's model; "" for none.
        device: where the model goes, instead of the recipe's device; "" for that one.

    Raises:
        UserError: if there is no such model, no judge fits it, the request does not fit it, or the model does not read the
            words of its prompts.
    """
    recipe = resolve(recipe, kind_of(recipe.model))
    name = start or recipe.model
    model, folder, entry = open_model(name, pick_device(device or recipe.device))
    task = Task(recipe, model, *choose_judge(name, model, folder, entry, recipe.request))
    kinds = task.concept.prompt_kinds
    planned = [spec.prompt for spec in task.concept.plan(PHRASINGS * len(kinds), kinds) if spec.prompt]
    model.check_prompts([*planned, *recipe.request.keep])
    return task


PHRASINGS = 3  # of each kind of prompt
Parts = tuple[Concept, Judge, Reference, PictureSource]


def choose_judge(name: str, model: Model, folder: Path, entry: Entry | None, request: ConceptRequest) -> Parts:
    """The judge of a model, and with it the meaning of the request.

    A model of the catalog has its own judge. A model whose images have the shape of a catalog model's gets that model's judge.
    The request overrides this if it names a judge or pictures (text-to-image), or the judge `PICTURES` or pictures of a class
    that the catalog lacks (unconditional).

    Raises:
        UserError: if no judge fits the model, or the request does not fit it.
    """
    own, fit = bool(request.judge or request.pictures), request.judge == PICTURES
    if model.takes_prompts and fit:
        raise UserError(f"'{name}' takes prompts, so its judge is not fitted on pictures; leave --judge {PICTURES} out.")
    if not model.takes_prompts and request.judge not in ("", PICTURES):
        raise UserError(
            f"'{name}' takes no prompts, which {request.judge} needs; leave the judge out, or give pictures to fit one on "
            f"(judge {PICTURES})."
        )
    shipped = not fit and not (own and model.takes_prompts)
    if entry and shipped:
        return shipped_parts(entry, folder, request)
    likes = entries_that_judge(model) if shipped else []
    if found := [like for like in likes if knows(like, request.forget)] or likes[: not own]:
        return shipped_parts(found[0], folder, request)
    return (prompt_parts if model.takes_prompts else picture_parts)(name, model, folder, request)


def shipped_parts(entry: Entry, folder: Path, request: ConceptRequest) -> Parts:
    """Concept, judge, reference and pictures for a model that a catalog entry's judge fits.

    Raises:
        UserError: if the request names prompts to keep, and the model takes no prompts.
    """
    if not entry.takes_prompts and request.keep:
        raise UserError(f"{entry.name} takes no prompts, so there are no prompts to keep.")
    concept = entry.concept(request.forget, request.keep)
    if folder != entry.folder:
        concept = replace(concept, forgotten=known_history(folder, concept))
    source = UserPictures(request.pictures, entry.shape) if request.pictures else entry.pictures
    return concept, entry.judge, reference_of(entry), source


@lru_cache
def reference_of(entry: Entry) -> Reference:
    """The shipped statistics of an entry's real pictures, loaded once."""
    return Reference(entry.judge_folder)


def prompt_parts(name: str, model: Model, folder: Path, request: ConceptRequest) -> Parts:
    """Concept and judge for a user's own prompt: CLIP, or NudeNet, which cannot see what earlier runs forgot."""
    nudity = request.judge == NUDENET
    concept = PromptConcept.of(name, request, () if nudity else history(folder)["forgotten"], names_kept=not nudity)
    judge = NudeNetJudge(concept.classes) if nudity else ClipJudge(request.judge or CLIP, concept.classes, concept.judge_texts)
    return concept, judge, Reference(), UserPictures(request.pictures, model.image_shape)


def picture_parts(name: str, model: Model, folder: Path, request: ConceptRequest) -> Parts:
    """Concept and judge for a user's pictures; the judge is fitted on them."""
    concept = PictureConcept.of(name, request, backbone().classes)
    keep = request.keep[0] if request.keep else ""
    judge = FittedJudge(name, concept.axes, model.image_shape, request.pictures, keep)
    return concept, judge, Reference(), UserPictures(request.pictures, model.image_shape)


def known_history(folder: Path, concept: Concept) -> tuple[str, ...]:
    """Display names of what earlier runs made a model forget; names that the concept's model does not know are left out."""
    known = []
    for name in history(folder)["forgotten"]:
        with suppress(UserError):
            known.append(concept.display_name_of(name))
    return tuple(dict.fromkeys(known))


def knows(entry: Entry, forget: str) -> bool:
    """Whether an entry knows the class or classes that `forget` names."""
    with suppress(UserError):
        return bool(entry.concept(forget).meanings(forget))
    return False


def kind_of(name: str) -> str:
    """The kind of a model, one of `models.KINDS`, by catalog name, folder or hub id.

    For a hub id that is not listed, the configuration (some kilobytes) is fetched; without it, the model counts as full-size.
    """
    if entry := entry_of(name):
        return SMALL if entry.takes_prompts else UNCONDITIONAL if entry.shape[0] == 1 else PHOTOGRAPHS
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        if not folder.is_dir() and hub.is_id(name) and name not in LISTED:
            folder = hub.fetch(name, with_weights=False)
        return kind_in(folder)
    return FULL_SIZE if hub.is_id(name) else UNCONDITIONAL


def classes_of(name: str) -> tuple[str, ...]:
    """The names of a model's classes.

    Raises:
        UserError: if there is no such model, or its classes are not known.
    """
    if entry := entry_of(name):
        return entry.classes
    model, _, _ = open_model(name, "cpu")
    if likes := entries_that_judge(model):
        return likes[0].classes
    raise UserError(f"The classes of '{name}' are not known; choose one of {', '.join(CATALOG)}.")


def entries_that_judge(model: Model) -> list[Entry]:
    """The entries whose judges fit a model: same image shape, prompts or none as in the model.

    Of several with prompts, only those whose classes its tokenizer knows as whole words, if there are any.
    """
    wanted = (model.image_shape, model.takes_prompts)
    found = [entry for entry in WITH_JUDGE if (entry.shape, entry.takes_prompts) == wanted]
    return [entry for entry in found if len(found) > 1 and model.knows_whole(entry.classes)] or found


def sample_prompts(name: str, model: Model) -> tuple[str | None, ...]:
    """Prompts that together cover what a model draws; (None,) for a model without prompts."""
    if not model.takes_prompts:
        return (None,)
    if entry := entry_of(name) or next(iter(entries_that_judge(model)), None):
        return entry.concept(entry.classes[0]).prompts
    return ("anything", *KEEP)


def shape_of(name: str) -> tuple[int, int, int] | None:
    """(c, h, w) of the images of a catalog model, or of a model on pixels in a folder; else None."""
    if entry := entry_of(name):
        return entry.shape
    with suppress(OSError, ValueError, TypeError, KeyError, UserError):
        folder = model_folder(name)
        unet = read_json(part_of(folder, "unet") / "config.json")
        if family_of(folder).PIXELS:
            size = unet["sample_size"]
            return unet["in_channels"], *(size if isinstance(size, list) else (size, size))
    return None


def model_folder(name: str) -> Path:
    """The diffusers folder at a path: the path itself, or its `unlearned/` if `unlearn --out` wrote it.

    Raises:
        UserError: for ~NAME of a user who does not exist.
    """
    try:
        folder = Path(name).expanduser()
    except RuntimeError as error:  # ~NAME of an unknown user
        raise UserError(f"There is no folder '{name}'; write its path in full.") from error
    return folder / "unlearned" if (folder / "unlearned").is_dir() else folder


def open_model(name: str, device: str) -> tuple[Model, Path, Entry | None]:
    """Open a model by catalog name, local diffusers folder, folder that `unlearn --out` wrote, or hub id.

    Returns:
        a private copy of the model, which shares all weights until `train_only` copies the ones that change; its folder; and
        its catalog entry, or None.

    Raises:
        UserError: if there is no such model.
    """
    if name in CATALOG:
        return cached_model(CATALOG[name].folder, device), CATALOG[name].folder, CATALOG[name]
    if name in TRAIN_FIRST:
        raise UserError(f"'{name}' does not ship with its weights; train it first, on a GPU: {TRAIN_FIRST[name]}")
    folder = model_folder(name)
    if not folder.is_dir():
        if not hub.is_id(name):
            raise UserError(f"There is no model '{name}'; choose one of {', '.join(CATALOG)}, a diffusers folder or a hub id.")
        folder = hub.fetch(name)
    try:
        return cached_model(folder, device), folder, None
    except UserError as error:  # name the model as the user did, not by its folder in the hub's cache
        raise UserError(re.sub(rf"(?<='){re.escape(str(folder.resolve()))}(?=['/])", lambda _: name, str(error))) from error


def cached_model(folder: Path, device: str) -> Model:
    """A copy of the model in a folder; the folder is read again only if one of its files has changed.

    Raises:
        UserError: if there is no such model, or its files change while they are read.
    """
    return _pristine(folder.resolve(), device, model_digest(folder)).clone()


def model_digest(folder: Path) -> str:
    """Hash of all files that the model in a folder is read from.

    Raises:
        UserError: if the folder holds no model, a model of an unknown family, or files that cannot be read.
    """
    try:
        return folder_digest(folder, (*family_of(folder).PARTS, "scheduler"))
    except OSError as error:
        raise UserError(f"'{folder}' could not be read: {first_line(error)}") from error


@lru_cache(maxsize=4)
def _pristine(folder: Path, device: str, digest: str) -> Model:
    model = load_model(folder, device)
    for name in model.PARTS:
        if isinstance(part := getattr(model, name), torch.nn.Module):
            copy_weights(part)
    if not model.digest == digest == model_digest(folder):
        raise UserError(f"'{folder}' changed while it was read; try again once it is written.")
    model.unet.requires_grad_(False)
    return model
