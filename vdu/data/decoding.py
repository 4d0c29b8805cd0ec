"""Decoding one picture file: how many pixels are decoded is known and bounded before the first one is.

A PNG of one colour packs 64 million pixels into 3 kB. What is decoded counts, not what the header says: libjpeg reduces a JPEG
by 2, 4 or 8 while it reads, so that photographs of 100 million pixels take no more memory than small ones.
"""

import warnings
from contextlib import closing
from dataclasses import dataclass

from PIL import Image, JpegImagePlugin

from vdu.data.cache import Cache
from vdu.data.files import FORMATS, File
from vdu.data.levels import Pixels, Shape, pixels_of
from vdu.errors import UserError

MOST_PICTURES = 500
MOST_PIXELS = 16_000_000  # decoded of a picture: up to a second, and 250 MB while it is read
MOST_IN_ALL = MOST_PICTURES * 1_000_000  # decoded in a reading
WHOLE = MOST_IN_ALL // MOST_PICTURES  # a JPEG of so few pixels is never reduced
MARGINS = (2, 1)  # a JPEG is reduced to at least so many times the model's height and width; the first that suffices
SCALES = (8, 4, 2, 1)  # by which libjpeg can reduce
UNPACKED_SHARE = 16  # unpacking so many pixels of a JPEG takes the time of decoding one

LARGE = f"more than {MOST_PIXELS // 10**6} million pixels; save {{}} smaller"
PROGRESSIVE = LARGE.format("it as a plain JPEG, or")
IN_ALL = (
    f"These pictures have more than {MOST_IN_ALL // 10**6} million pixels in all; give fewer, or save them smaller: the model "
    "sees {width}×{height} pixels of each."
)
REASONS = (  # (exception, meaning); the first that fits applies
    (Image.DecompressionBombError, f"more than {2 * Image.MAX_IMAGE_PIXELS // 10**6} million pixels; save it smaller"),
    (MemoryError, "too large for the memory of this machine; save it smaller"),
    (Exception, "broken, or of a kind that cannot be read; save it as PNG or JPEG"),
)
TILE_SIDES = (322, 323)  # tags of a TIFF

# Memory in blocks as large as this goes back to the system when a picture is closed; of smaller ones, the heap keeps most.
Image.core.set_block_size(128 * 2**20)
# Pillow warns of pictures that this module reduces or leaves out.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


class TooManyPixels(UserError):
    """The pictures of a reading have too many pixels in all."""


@dataclass(frozen=True)
class Decoded:
    """What became of a picture file.

    Attributes:
        pixels: the picture; None if it is left out.
        problem: why it is left out.
        several: whether it has more frames or pages than the first, which is the one that is read.
        cost: pixels decoded for it.
    """

    pixels: Pixels | None = None
    problem: str = ""
    several: bool = False
    cost: int = 0

    @property
    def size(self) -> int:
        """Bytes that it takes in a cache, about."""
        return 1000 + (self.pixels.values.nbytes if self.pixels else 0)


DECODED: Cache[Decoded] = Cache(limit=64 * 2**20)


def decode(file: File, shape: Shape, left: int = MOST_IN_ALL) -> Decoded:
    """A picture file in a shape (c, h, w), decoded once: a preview and the run after it share what was decoded.

    Args:
        file: the file.
        shape: (c, h, w) of the picture.
        left: pixels that may still be decoded.

    Raises:
        TooManyPixels: if the picture has more than `left`; nothing is decoded then.
    """
    key = (file.identity, shape)
    found = DECODED.get(key)
    if found is None:
        found = decode_now(file, shape, left)
        DECODED.put(key, found, found.size)
    if found.cost > left:
        raise too_many(shape)
    return found


def decode_now(file: File, shape: Shape, left: int) -> Decoded:
    """See `decode`; without the cache."""
    cost = 0
    try:
        # A picture that is its own context would keep its pixels.
        with file.open() as opened, closing(Image.open(opened, formats=FORMATS)) as image:
            cost = reduce(image, shape, left)
            # Cameras add a preview as a second frame to a JPEG, which is then of the format MPO.
            several = image.format != "MPO" and getattr(image, "is_animated", False)
            return Decoded(pixels_of(image, shape), several=several, cost=cost)
    except TooManyPixels:
        raise
    except UserError as error:
        return Decoded(problem=str(error), cost=cost)
    except Exception as error:  # Pillow and zipfile raise many kinds of errors for broken files
        return Decoded(problem=next(words for kind, words in REASONS if isinstance(error, kind)), cost=cost)


def too_many(shape: Shape) -> TooManyPixels:
    """The error for pictures that have too many pixels in all."""
    return TooManyPixels(IN_ALL.format(width=shape[2], height=shape[1]))


def reduce(image: Image.Image, shape: Shape, left: int) -> int:
    """Let a large JPEG be reduced while it is decoded to a shape (c, h, w); returns the cost of decoding it, in pixels.

    Raises:
        UserError: if it has more than `MOST_PIXELS` even so.
        TooManyPixels: if it costs more than is left.
    """
    pixels, unpacked = image.width * image.height, 0
    if isinstance(image, JpegImagePlugin.JpegImageFile) and pixels > WHOLE:
        if image.info.get("progressive") and pixels > MOST_PIXELS:  # all of it is unpacked before a pixel is decoded
            raise UserError(PROGRESSIVE)
        unpacked = pixels // UNPACKED_SHARE
        for margin in MARGINS:
            spare = min(image.width // (margin * shape[2]), image.height // (margin * shape[1]))
            scale = next(scale for scale in SCALES if scale <= max(1, spare))
            if pixels // scale**2 <= MOST_PIXELS:
                break
        image.draft(None, (image.width // scale, image.height // scale))
        pixels = image.width * image.height
    tags = getattr(image, "tag_v2", {})
    across, down = (int(tags.get(side, 1)) for side in TILE_SIDES)  # a tile may be larger than its picture
    if max(pixels, across * down) > MOST_PIXELS:
        raise UserError(LARGE.format("it"))
    if pixels + unpacked > left:
        raise too_many(shape)
    return pixels + unpacked
