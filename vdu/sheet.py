"""Picture sheets: many images side by side on dark paper."""

from PIL import Image, ImageDraw
from torch import Tensor

SCALE, COLUMNS, GAP = 3, 8, 3  # of a sheet: pixels per pixel of the model, images per row, pixels between images
LARGEST = 256  # pixels of an image on a sheet at most; larger ones are reduced
FRAME, PAPER = (232, 74, 63), (24, 26, 32)


def as_picture(pixels: Tensor) -> Image.Image:
    """A uint8 image (c, h, w) as a picture."""
    return Image.fromarray(pixels.permute(1, 2, 0).squeeze(-1).contiguous().numpy())


def sheet(images: Tensor, framed: Tensor, columns: int = COLUMNS) -> Image.Image:
    """Images (n, c, h, w), uint8, in rows of `columns` on dark paper; those in `framed` (n,) get a red frame."""
    count, _, height, width = images.shape
    scale = min(SCALE, LARGEST / max(height, width))
    size, resampling = (round(width * scale), round(height * scale)), Image.Resampling.NEAREST
    if scale < 1:
        resampling = Image.Resampling.LANCZOS
    cell_width, cell_height = (side + 2 * GAP for side in size)
    columns = min(columns, count)
    rows = -(-count // columns)
    page = Image.new("RGB", (columns * cell_width, rows * cell_height), PAPER)
    draw = ImageDraw.Draw(page)
    for position, (pixels, red) in enumerate(zip(images, framed.tolist(), strict=True)):
        left, top = position % columns * cell_width, position // columns * cell_height
        picture = as_picture(pixels).convert("RGB")
        if red:
            draw.rectangle([left, top, left + cell_width - 1, top + cell_height - 1], fill=FRAME)
        page.paste(picture.resize(size, resampling), (left + GAP, top + GAP))
    return page
