"""The comparison with plain diffusers: its cells, some of its rows, and that it sees a difference."""

import itertools

import pytest

from vdu.bench import folders
from vdu.bench.folders import FACTORS, Outcome, outcome, pair, pairs_of, pairwise, possible

PIXELS = {factor: next(iter(values)) for factor, values in FACTORS.items()}
PROMPTS = PIXELS | {"pipeline": "StableDiffusionPipeline", "autoencoder": "KL", "words": "CLIP"}
SIZES = PROMPTS | {"pipeline": "StableDiffusionXLImg2ImgPipeline"}
DRAWN = [  # of every kind of folder at least one
    PIXELS | {"betas": "squaredcos_cap_v2", "sampler": "clipping", "files": "shards", "configuration": "all at the root"},
    PIXELS | {"scheduler": "DDIMScheduler", "zero SNR": "yes", "prediction": "v_prediction", "files": "fp16 variant"},
    PIXELS | {"scheduler": "HeunDiscreteScheduler", "betas": "exp", "prediction": "sample", "sampler": "Karras"},
    PIXELS | {"pipeline": "DDIMPipeline", "scheduler": "DPMSolverMultistepScheduler", "betas": "trained", "zero SNR": "yes"},
    PROMPTS | {"scheduler": "UniPCMultistepScheduler", "sampler": "order 3", "files": "fp16 shards", "autoencoder": "tiny"},
    PROMPTS | {"scheduler": "EulerDiscreteScheduler", "words": "learned word", "autoencoder": "asymmetric"},
    SIZES | {"configuration": "no length of prompts", "files": "a variant of its own", "prediction": "v_prediction"},
]  # fmt: skip
REFUSED = [
    PIXELS | {"scheduler": "FlowMatchEulerDiscreteScheduler"},
    PIXELS | {"scheduler": "CogVideoXDDIMScheduler"},
    PIXELS | {"files": "pickles"},
    PIXELS | {"configuration": "no size"},
    PROMPTS | {"words": "T5"},
    PROMPTS | {"autoencoder": "consistency decoder"},
    PROMPTS | {"files": "a missing key"},
    PROMPTS | {"scheduler": "UniPCMultistepScheduler", "sampler": "flow"},
]


@pytest.mark.parametrize("cell", DRAWN, ids=lambda cell: f"{cell['pipeline']}-{cell['scheduler']}")
def test_it_is_drawn_as_by_plain_diffusers(cell, tmp_path):
    found = outcome(cell, tmp_path)
    assert found.word == "same", found
    assert found.apart is not None
    assert found.apart <= folders.CLOSE


@pytest.mark.parametrize("cell", REFUSED, ids=lambda cell: f"{cell['scheduler']}-{cell['files']}-{cell['words']}")
def test_it_is_refused_for_its_reason(cell, tmp_path):
    found = outcome(cell, tmp_path)
    assert found.word == "refused", found
    assert "\n" not in found.said


def test_a_difference_is_seen_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "GUIDANCE", 1.0)
    drawn = folders.ours
    monkeypatch.setattr(folders, "ours", lambda *given: (255 - drawn(*given)[0], drawn(*given)[1]))
    shown = []
    assert not folders.folders(tmp_path / "page.md", shown.append, [DRAWN[1], REFUSED[0]])
    page = (tmp_path / "page.md").read_text()
    assert "2 rows: 1 different, 1 refused." in page
    assert "\n1. 'FOLDER' cannot be unlearned" in page
    assert len(shown) == 2


def test_what_must_be_refused_and_is_drawn_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(FACTORS, "spacing", FACTORS["spacing"] | {"leading": "a reason that it does not have"})
    assert outcome(PIXELS, tmp_path) == Outcome("drawn, where it must be refused")


def test_every_pair_of_values_that_can_be_occurs(monkeypatch):
    few = {factor: dict(list(values.items())[:2] + list(values.items())[-1:]) for factor, values in FACTORS.items()}
    monkeypatch.setattr(folders, "FACTORS", few)
    cells = pairwise()
    covered = set().union(*map(pairs_of, cells))
    assert all(possible(cell) for cell in cells)
    for first, second in itertools.combinations(few, 2):
        for value, other in itertools.product(few[first], few[second]):
            if pair((first, value), (second, other)) not in covered:
                assert folders.completed({first: value, second: other}, folders.random.Random(1)) is None
