"""HTML from the templates in `templates/`, which escape every text."""

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
    """PNG bytes as a data: URL."""
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
    """Fill in `templates/<template>.html`; texts are escaped, except `Markup` such as a chart's SVG."""
    return TEMPLATES.get_template(f"{template}.html").render(**values)


def picture(data: bytes, description: str) -> str:
    """PNG bytes as an <img> as wide as its container, with an alternative text."""
    return render("picture", png=data, description=description)


def chart(svg: str) -> str:
    """A chart of `vdu.charts` in a box of limited width."""
    return render("chart", svg=Markup(svg))
