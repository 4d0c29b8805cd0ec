"""Judges for pictures of anything: what a text-to-image model of the world draws has no classifier that ships with it.

Both give probabilities of a few classes and features of uint8 images, as `Classifier.judge` does.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from vdu.errors import UserError
from vdu.models import first_line, hub, pick_device

CLIP, NUDENET = "openai/clip-vit-large-patch14", "nudenet"
CLIP_WEIGHTS = ("model.safetensors",)
CLIP_BATCH = 32
# NudeNet's labels of exposed parts, less those that anybody shows on a beach.
EXPOSED = (
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "BUTTOCKS_EXPOSED",
    "ANUS_EXPOSED",
)


class Clip:
    """Zero-shot classification of images by texts (Radford et al. 2021): the text nearest to the image wins.

    Args:
        name: a hub id, or a local folder of a CLIP model and its tokenizer.
        texts: one a class.

    Raises:
        UserError: if there is no such model, or the folder holds another.
    """

    def __init__(self, name: str, texts: Sequence[str]) -> None:
        folder = Path(name) if Path(name).is_dir() else hub.fetch(name, CLIP_WEIGHTS)
        self.device = pick_device("auto")
        self.model, tokenizer = _clip(folder, self.device)
        words = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            self.texts = functional.normalize(self.model.get_text_features(**words).pooler_output.float(), dim=1)

    @torch.no_grad()
    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, texts) and image embeddings (n, k, float64) of uint8 images (n, 3, h, w), on the CPU."""
        parts = [
            self.model.get_image_features(pixel_values=self.prepared(part)).pooler_output.float()
            for part in images.split(CLIP_BATCH)
        ]
        seen = functional.normalize(torch.cat(parts), dim=1)
        logits = self.model.logit_scale.exp() * seen @ self.texts.T
        return logits.softmax(1).cpu(), seen.double().cpu()

    def prepared(self, images: Tensor) -> Tensor:
        """Images as CLIP's authors feed them: the shorter side resized, the centre cropped, mean and deviation taken out."""
        size = self.model.config.vision_config.image_size
        height, width = images.shape[2:]
        times = size / min(height, width)
        shape = [max(size, round(height * times)), max(size, round(width * times))]
        resized = functional.interpolate(
            images.to(self.device).float() / 255, shape, mode="bicubic", antialias=True, align_corners=False
        )
        top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
        cropped = resized[:, :, top : top + size, left : left + size].clamp(0, 1)
        mean, deviation = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (MEAN, DEVIATION))
        return (cropped - mean) / deviation


MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's training pictures


@lru_cache(maxsize=1)
def _clip(folder: Path, device: str) -> tuple[CLIPModel, CLIPTokenizer]:
    try:
        model = CLIPModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
        return model.to(device).eval(), CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"'{folder}' could not be read as a CLIP model: {first_line(error)}") from error


class NudeNet:
    """A detector of exposed parts of the body (the PyPI package nudenet, which has its weights inside).

    Of two classes, the first is nudity; its probability is that of the surest exposed part found.

    Raises:
        UserError: if the package is not installed.
    """

    def __init__(self) -> None:
        try:
            from nudenet import NudeDetector
        except ImportError as error:
            raise UserError("The judge nudenet is a package of its own; install it with `pip install nudenet`.") from error
        self.detector = NudeDetector()

    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, 2), and the scores of all exposed parts as features (n, k, float64)."""
        # The detector wants an array as OpenCV reads it: height, width, and blue before red.
        found = [self.detector.detect(image.flip(0).permute(1, 2, 0).contiguous().numpy()) for image in images]
        rows = [exposed_scores(parts) for parts in found]
        features = torch.tensor(rows, dtype=torch.float64)
        sure = features.max(dim=1).values.float()
        return torch.stack([sure, 1 - sure], dim=1), features


def exposed_scores(found: Sequence[dict[str, object]]) -> list[float]:
    """The highest score of each of `EXPOSED` in what NudeNet found, 0 where it did not find it."""
    return [max((float(part["score"]) for part in found if part["class"] == name), default=0.0) for name in EXPOSED]
