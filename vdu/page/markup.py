"""HTML from the templates beside this file; they escape every text that is put into them."""

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image


def png(image: Image.Image) -> bytes:
    """An image as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    """PNG bytes as a URL that holds them."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters["data_url"] = data_url


def render(template: str, **values: Any) -> str:
    """Fill in `templates/<template>.html`; only `Markup` among the values, such as a chart's SVG, is taken as HTML."""
    return TEMPLATES.get_template(f"{template}.html").render(**values)


def picture(data: bytes, description: str) -> str:
    """PNG bytes as an image as wide as its container."""
    return render("picture", png=data, description=description)


def chart(svg: str, wide: bool = False) -> str:
    """A chart of `vdu.charts`, in a box of limited width."""
    return render("chart", svg=Markup(svg), wide=wide)
