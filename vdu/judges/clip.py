"""CLIP as a judge of anything, for text-to-image models without a classifier of their own."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn import functional

from vdu.errors import UserError, first_line
from vdu.events import Progress
from vdu.models import Model, hub, pick_device
from vdu.models.digest import check_finite, copy_weights, digest_of, folder_digest
from vdu.sampling import HowToSample

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer

CLIP = "openai/clip-vit-large-patch14"
CLIP_BATCH = 32


class ClipJudge:
    """Zero-shot classification of images by texts (Radford et al. 2021): the text nearest to the image wins.

    Args:
        name: a hub id, or a local folder of a CLIP model and its tokenizer.
        classes: the classes that the texts describe, on one axis.
        texts: one per class.
    """

    error_rates = None

    def __init__(self, name: str, classes: Sequence[str], texts: Sequence[str]) -> None:
        self.name, self.digest, self.texts = name, name, list(texts)
        self.axes = {"concept": tuple(classes)}
        self.device = pick_device("auto")

    def fit(self, model: Model, how: HowToSample) -> Iterator[Progress]:
        """Load the CLIP model.

        Raises:
            UserError: if there is no such model, or the folder holds another kind of model.
        """
        _ = self.text_embeddings
        self.digest = digest_of((folder_digest(self.folder), self.texts))
        return iter(())

    @cached_property
    def model(self) -> "CLIPModel":
        """The network."""
        return self._loaded[0]

    @cached_property
    def folder(self) -> Path:
        """The folder of the CLIP model, fetched from the hub if need be."""
        return Path(self.name) if Path(self.name).is_dir() else hub.fetch(self.name)

    @cached_property
    def _loaded(self) -> "tuple[CLIPModel, CLIPTokenizer]":
        return _clip(self.folder.resolve(), self.device, folder_digest(self.folder))

    @cached_property
    def text_embeddings(self) -> Tensor:
        """A unit vector per text, (texts, k)."""
        words = self._loaded[1](self.texts, padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.no_grad():
            return functional.normalize(self.model.get_text_features(**words).pooler_output.float(), dim=1)

    @torch.no_grad()
    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (n, texts) and image embeddings (n, k, float64) of uint8 images (n, 3, h, w), on the CPU."""
        parts = [
            self.model.get_image_features(pixel_values=self.prepared(part)).pooler_output.float()
            for part in images.split(CLIP_BATCH)
        ]
        seen = functional.normalize(torch.cat(parts), dim=1)
        logits = self.model.logit_scale.exp() * seen @ self.text_embeddings.T
        return logits.softmax(1).cpu(), seen.double().cpu()

    def prepared(self, images: Tensor) -> Tensor:
        """CLIP's own preprocessing, (n, 3, s, s): shorter side resized, centre cropped, mean and deviation normalised."""
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
def _clip(folder: Path, device: str, digest: str) -> "tuple[CLIPModel, CLIPTokenizer]":
    from transformers import CLIPModel, CLIPTokenizer  # take seconds to import

    try:
        model = CLIPModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise UserError(f"'{folder}' could not be read as a CLIP model: {first_line(error)}") from error
    check_finite(f"the judge in '{folder}'", model)
    copy_weights(model)
    return model.to(device).eval(), tokenizer
