"""The forget set: pictures of the concept to forget, with captions for a model with prompts, and the sources of pictures."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vdu.concepts.attributes import AttributeConcept, read_words
from vdu.concepts.base import Axes, Concept
from vdu.data import hub_dataset
from vdu.data.sheets import read_sheet
from vdu.errors import UserError
from vdu.events import Progress

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class ForgetSet:
    """Pictures of the concept to forget.

    Attributes:
        images: uint8 (n, c, h, w).
        captions: n prompts, one per picture, for a model that takes prompts.
        neutral: the n captions without the words for the concept; None without captions.
        notes: sentences on a user's files, see `data.pictures.Pictures`.
    """

    images: Tensor
    captions: list[str] | None = None
    neutral: list[str] | None = None
    notes: tuple[str, ...] = ()

    def rows(self, rows: list[int]) -> "ForgetSet":
        """The pictures in some rows."""
        if self.captions is None:
            return ForgetSet(self.images[rows])
        return ForgetSet(self.images[rows], [self.captions[row] for row in rows], [self.neutral[row] for row in rows])

    def joined(self, more: "ForgetSet") -> "ForgetSet":
        """These pictures, then those of `more`, which must have captions if these have."""
        images = torch.cat([self.images, more.images])
        if self.captions is None:
            return ForgetSet(images)
        return ForgetSet(images, self.captions + more.captions, self.neutral + more.neutral)


@dataclass(frozen=True)
class RealSheets:
    """Shipped real training pictures, one sheet per class: forget/CLASS.png.

    Attributes:
        folder: the model's folder.
        shape: (c, h, w) of the model's images.
    """

    folder: Path
    shape: Shape

    def examples(self, name: str) -> Tensor:
        """Pictures of a class, uint8 (n, c, h, w)."""
        return read_sheet(self.folder / "forget" / f"{name}.png", self.shape)

    def forget_set(self, concept: Concept) -> ForgetSet | None:
        """All pictures of the concept to forget."""
        return ForgetSet(torch.cat([self.examples(name) for name in concept.forgotten_classes]))

    def read(self, concept: Concept) -> Generator[Progress, None, ForgetSet | None]:
        """As `forget_set`, for any source; sheets are read in no time."""
        yield from ()  # makes this a generator
        return self.forget_set(concept)


@dataclass(frozen=True)
class DrawnSheets(RealSheets):
    """The model's own pictures, where real ones cannot ship: drawn/CLASS.png shows a class, but is no training data."""

    def examples(self, name: str) -> Tensor:
        """The model's own pictures of a class, uint8 (n, c, h, w)."""
        return read_sheet(self.folder / "drawn" / f"{name}.png", self.shape)

    def forget_set(self, concept: Concept) -> ForgetSet | None:
        """None, since no real picture ships."""
        return None


@dataclass(frozen=True)
class AttributeSheets(RealSheets):
    """Shipped real pictures of things with a class on each of two axes: one sheet per class of the first axis, thing by thing.

    Attributes:
        axes: the two axes and their classes.
    """

    axes: Axes

    def examples(self, name: str) -> Tensor:
        """Pictures of all things that have a class, uint8 (n, c, h, w)."""
        return self.forget_set(AttributeConcept(self.folder.name, self.axes, name, words=read_words(self.folder))).images

    def forget_set(self, concept: AttributeConcept) -> ForgetSet:
        """Pictures of all things to forget, in mixed order, with captions in varying phrases."""
        sheets: dict[str, Tensor] = {}
        images, captions = [], []
        first, each, phrases = next(iter(concept.axes)), concept.words["pictures"], concept.words["phrases"]
        things = [thing for thing in concept.things if concept.shows(thing, concept.forget)]
        for number in range(each):
            for place, thing in enumerate(things):
                sheet = thing[first]
                if sheet not in sheets:
                    sheets[sheet] = read_sheet(self.folder / "forget" / f"{sheet}.png", self.shape)
                row = [other for other in concept.things if other[first] == sheet].index(thing)
                images.append(sheets[sheet][row * each + number])
                captions.append(phrases[(number + place) % len(phrases)].format(**thing))
        return ForgetSet(torch.stack(images), captions, [concept.neutral_prompt(caption) for caption in captions])


@dataclass(frozen=True)
class UserPictures:
    """A user's own pictures of the concept to forget.

    Attributes:
        where: a folder, a zip, or the hub id of a labelled data set, see `hub_dataset.pictures`; "" for none.
        shape: (c, h, w) of the model's images.
    """

    where: str
    shape: Shape

    def read(self, concept: Concept) -> Generator[Progress, None, ForgetSet | None]:
        """Read the pictures, see `read_pictures`; None if `where` is empty.

        Raises:
            UserError: if `where` holds no usable picture.
        """
        if not self.where:
            return None
        images, notes = yield from hub_dataset.pictures(self.where, concept.forgotten_classes, self.shape)
        captions = concept.captions(len(images))
        neutral = captions and [concept.neutral_prompt(caption) for caption in captions]
        return ForgetSet(images, captions, neutral, notes)


PictureSource = RealSheets | UserPictures


def real_images(source: PictureSource, concept: Concept, model: str) -> Generator[Progress, None, Tensor]:
    """Read all real pictures of the concept to forget, uint8 (n, c, h, w).

    Raises:
        UserError: if there are none.
    """
    if (found := (yield from source.read(concept))) is None:
        raise UserError(f"No real images ship with {model}; give a folder of them (pictures).")
    return found.images
