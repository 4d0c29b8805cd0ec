"""CLIP as a judge, compared with transformers' own classes."""

import pytest
import torch
from dummies import dummy_clip
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from vdu.errors import UserError
from vdu.judges.clip import ClipJudge

TEXTS = ["a dog", "a cat on a mat", "x"]


def test_clip_sees_what_transformers_own_classes_see(tmp_path):
    dummy_clip(tmp_path / "clip")
    images = torch.randint(0, 256, (3, 3, 24, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    judge = ClipJudge(str(tmp_path / "clip"), TEXTS, TEXTS)
    assert judge.axes == {"concept": tuple(TEXTS)}
    assert list(judge.fit(None, None)) == []
    probabilities, features = judge.judge(images)
    model, tokenizer = CLIPModel.from_pretrained(tmp_path / "clip"), CLIPTokenizer.from_pretrained(tmp_path / "clip")
    processor = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    pixels = processor([Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images], return_tensors="pt")
    with torch.no_grad():
        known = model(**tokenizer(TEXTS, padding=True, return_tensors="pt"), **pixels)
    torch.testing.assert_close(probabilities, known.logits_per_image.softmax(1), atol=2e-3, rtol=0)
    assert features.shape == (3, 12)


def test_nothing_is_loaded_before_it_is_fitted_and_then_what_is_missing_is_said(tmp_path):
    judge = ClipJudge(str(tmp_path), TEXTS, TEXTS)
    with pytest.raises(UserError, match="could not be read as a CLIP model") as caught:
        judge.fit(None, None)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no folder '/nowhere' here"):
        ClipJudge("/nowhere", TEXTS, TEXTS).fit(None, None)
