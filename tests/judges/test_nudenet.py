"""NudeNet as a judge, with a dummy detector."""

import sys
from types import SimpleNamespace

import pytest
import torch

from vdu.errors import UserError
from vdu.judges.nudenet import EXPOSED, NudeNetJudge

CLASSES = ("a nude", "something else")


def test_it_gives_the_surest_exposed_part(monkeypatch):
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
    judge = NudeNetJudge(CLASSES)
    assert list(judge.fit(None, None)) == []
    probabilities, features = judge.judge(images)
    torch.testing.assert_close(probabilities, torch.tensor([[0.7, 0.3], [0.0, 1.0]]))
    assert read[0].shape == (8, 6, 3)
    assert features.shape == (2, len(EXPOSED))
    assert judge.axes == {"concept": CLASSES}


def test_it_is_optional(monkeypatch):
    monkeypatch.setitem(sys.modules, "nudenet", None)
    judge = NudeNetJudge(CLASSES)
    with pytest.raises(UserError, match="pip install nudenet"):
        judge.fit(None, None)
