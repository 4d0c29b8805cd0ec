"""From the numbers in a picture file to 8-bit images of a model's shape: which number is white, and which side up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps, PngImagePlugin
from torch import Tensor

from vdu.data.files import Notes
from vdu.errors import UserError

Shape = tuple[int, int, int]

STRIP = 32  # rows that are converted at a time

DEEP_GREY = ("I", "F")  # modes, beside those that start with I;16, whose white is not 255
FULL = 65535  # white of 16 bits
DIM = FULL // 4  # if a whole set is no brighter, its 16 bits may hold numbers of 14 or fewer bits
DEPTHS = (8, 10, 12, 14)  # of cameras, microscopes and scanners that write 16
ASSUMED = "no file says what is white, and no pixel is above {brightest:.0f} of 65,535: {white} is taken as white"
DIM_COLOURS = (
    "The colours of 16 bits in these pictures use less than a quarter of their range, and no file says what is white; save "
    "the pictures with 8 bits per colour."
)
NO_WHITE = "its pixels are 32-bit or signed numbers, and nothing says which is white; save it with 8 or 16 bits"
BITS, PHOTOMETRIC, WHITES = 258, 262, (281, 341)  # tags of a TIFF; the last are MaxSampleValue and SMaxSampleValue


@dataclass(frozen=True)
class Pixels:
    """A picture in a model's shape, before it is known which number is white.

    Attributes:
        values: (c, h, w), uint8 if white is 255, else float32.
        brightest: the largest number in the picture before it was resized.
        white: the number that is white; None if the file does not say for sure.
        hint: what the file says of the largest number; None if it says nothing. Some writers put it there without need.
        white_is_zero: whether zero is white, and `white` is black.
        deep_colours: whether 8 of 16 bits per colour are left.
    """

    values: Tensor
    brightest: float
    white: float | None = 255
    hint: float | None = None
    white_is_zero: bool = False
    deep_colours: bool = False


def pixels_of(image: Image.Image, shape: Shape) -> Pixels:
    """A picture in a shape (c, h, w): upright by its EXIF data, on white if transparent, its centre cropped and resized.

    The picture itself is turned upright, so that it is in memory once.

    Raises:
        UserError: if its pixels are 32-bit numbers of which no one knows which is white.
    """
    tags, raw = getattr(image, "tag_v2", {}), str(image.tile)  # both are lost on the way
    bits_in_png = significant_bits(image)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith(DEEP_GREY):
        return deep_grey(image, shape, tags, bits_in_png)
    deep_colours = ";16" in raw and image.mode != "CMYK"
    brightest = brightest_colour(image) * 257 if deep_colours else 255.0
    return Pixels(fitted(on_white(image, "L" if shape[0] == 1 else "RGB"), shape), brightest, deep_colours=deep_colours)


def by_strips(image: Image.Image, mode: str, change: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """A picture of another mode, changed a few rows at a time: a copy of the whole takes as much memory as the picture."""
    changed = Image.new(mode, image.size)
    for top in range(0, image.height, STRIP):
        changed.paste(change(image.crop((0, top, image.width, min(top + STRIP, image.height)))), (0, top))
    return changed


def on_white(image: Image.Image, mode: str) -> Image.Image:
    """A picture in a mode, "L" or "RGB", on white if transparent."""

    def change(strip: Image.Image) -> Image.Image:
        if strip.has_transparency_data:
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), in_mode(strip, "RGBA"))
        return in_mode(in_mode(strip, "RGB"), mode)  # by way of RGB, since not every mode converts to grey directly

    return image if image.mode in ("L", mode) and not image.has_transparency_data else by_strips(image, mode, change)


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """A picture in a mode; itself if it is in it already, which `convert` would copy."""
    return image if image.mode == mode else image.convert(mode)


def brightest_colour(image: Image.Image) -> float:
    """The largest number in the colours of a picture, without its transparency."""
    extremes = image.getextrema()
    by_band = dict(zip(image.getbands(), extremes if isinstance(extremes[0], tuple) else [extremes], strict=True))
    return float(max(high for band, (_, high) in by_band.items() if band != "A"))


def deep_grey(image: Image.Image, shape: Shape, tags: dict, bits_in_png: int | None) -> Pixels:
    """A grey picture of 16 or 32 bits, which Pillow would clip to 8; `tags` are those of a TIFF."""
    extremes = []

    def change(strip: Image.Image) -> Image.Image:
        numbers = np.asarray(strip).astype(np.float32)
        extremes.extend((numbers.min(), numbers.max()))
        return Image.fromarray(numbers)

    whole = by_strips(image, "F", change)
    lowest, brightest, bits = np.min(extremes), float(np.max(extremes)), first(tags.get(BITS, 16))
    hints = [float(first(tags[tag])) for tag in WHITES if tag in tags]
    hints += [2.0**bits_in_png - 1] if bits_in_png else []
    # The full range as the largest number is what a writer puts into every file.
    hint = next((hint for hint in hints if 0 < hint < FULL or image.mode in DEEP_GREY), None)
    white = 2.0**bits - 1 if bits < 16 else None
    if image.mode in DEEP_GREY:
        if hint is None or lowest < 0 or not brightest <= hint:
            raise UserError(NO_WHITE)
        white = hint
    return Pixels(fitted(whole, shape), brightest, white, hint, first(tags.get(PHOTOMETRIC, 1)) == 0)


def first(value: float | Sequence[float]) -> float:
    """The first of what a tag says, which may be one value or several."""
    return value[0] if isinstance(value, Sequence) else value


def significant_bits(image: Image.Image) -> int | None:
    """The significant bits per sample that a PNG names (sBIT), which Pillow passes over; None if it names none."""
    if not isinstance(image, PngImagePlugin.PngImageFile) or image.mode != "I;16":
        return None
    place, found = image.fp.tell(), None
    image.fp.seek(8)  # behind the signature
    chunks = PngImagePlugin.ChunkStream(image.fp)
    while found is None:
        kind, _, length = chunks.read()
        if kind in (b"IDAT", b"IEND"):
            break
        data = image.fp.read(length + 4)
        found = data[0] if kind == b"sBIT" and length else None
    image.fp.seek(place)
    return found


def fitted(image: Image.Image, shape: Shape) -> Tensor:
    """The centre of a picture (c, h, w)."""
    channels, height, width = shape
    resized = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))
    pixels = torch.from_numpy(resized.copy()).reshape(height, width, -1).permute(2, 0, 1)
    return pixels.expand(channels, -1, -1)


def to_levels(pictures: Sequence[Pixels], notes: Notes) -> list[Tensor]:
    """Pictures that belong together as uint8 (c, h, w), 255 for white. Where no file says what is white, the set decides.

    Raises:
        UserError: if the colours of 16 bits are so dark that they may have fewer.
    """
    colours = [one.brightest for one in pictures if one.deep_colours]
    if colours and max(colours) <= DIM:
        raise UserError(DIM_COLOURS)
    white = white_of([one for one in pictures if one.white is None], notes)
    return [levels(one, one.white or white) for one in pictures]


def white_of(unsure: Sequence[Pixels], notes: Notes) -> float:
    """The number that is white in 16-bit pictures; a note says it if it is assumed."""
    brightest = max((one.brightest for one in unsure), default=FULL)
    hints = [one.hint for one in unsure]
    # A hint that the brightest pixel exceeds is none: the bits of a PNG are then the upper ones, as its standard wants it.
    if None not in hints and hints and max(hints) >= brightest:
        return max(hints)
    if brightest > DIM or not brightest:
        return FULL
    bits = next(bits for bits in DEPTHS if 2**bits > brightest)
    notes.add(ASSUMED.format(brightest=brightest, white=2**bits - 1), "")
    return 2.0**bits - 1


def levels(picture: Pixels, white: float) -> Tensor:
    """A picture as uint8 (c, h, w), by the number that is white."""
    if picture.values.dtype == torch.uint8:
        return picture.values
    share = picture.values / white
    return ((1 - share if picture.white_is_zero else share) * 255).round().clamp(0, 255).to(torch.uint8)
