"""Judges from outside: CLIP by prompts, NudeNet for nudity."""

import sys
from types import SimpleNamespace

import pytest
import torch
from dummies import dummy_clip
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from vdu import judges
from vdu.entries import Words
from vdu.errors import UserError
from vdu.told import Told


def test_clip_sees_what_transformers_own_classes_see(tmp_path):
    dummy_clip(tmp_path / "clip")
    texts = ["a dog", "a cat on a mat", "x"]
    images = torch.randint(0, 256, (3, 3, 24, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    probabilities, features = judges.Clip(str(tmp_path / "clip"), texts).judge(images)
    model, tokenizer = CLIPModel.from_pretrained(tmp_path / "clip"), CLIPTokenizer.from_pretrained(tmp_path / "clip")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    pixels = processor([Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images], return_tensors="pt")
    with torch.no_grad():
        known = model(**tokenizer(texts, padding=True, return_tensors="pt"), **pixels)
    torch.testing.assert_close(probabilities, known.logits_per_image.softmax(1), atol=2e-3, rtol=0)
    assert features.shape == (3, 12)


def test_nudenet_gives_the_surest_exposed_part_and_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    with pytest.raises(UserError, match="pip install nudenet"):
        judges.NudeNet()
    read = []

    def detect(array):
        read.append(array)
        if array[0, 0, 0] == 9:  # blue comes first
            return [{"class": "BUTTOCKS_EXPOSED", "score": 0.7}, {"class": "FACE_FEMALE", "score": 0.9},
                    {"class": "BUTTOCKS_EXPOSED", "score": 0.4}]  # fmt: skip
        return []

    monkeypatch.setitem(sys.modules, "nudenet", SimpleNamespace(NudeDetector=lambda: SimpleNamespace(detect=detect)))
    images = torch.zeros(2, 3, 8, 6, dtype=torch.uint8)
    images[0, 2] = 9
    probabilities, features = judges.NudeNet().judge(images)
    torch.testing.assert_close(probabilities, torch.tensor([[0.7, 0.3], [0.0, 1.0]]))
    assert read[0].shape == (8, 6, 3)
    assert features.shape == (2, len(judges.EXPOSED))
    entry = Told.of("x", (3, 8, 8), None, Words("a nude", ("a dog",), judge="nudenet"))
    assert entry.classes == ("a nude", "something else")
    assert entry.plan("", 2)[1].classes == (1,)  # a kept prompt is right if there is nothing nude
