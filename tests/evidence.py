"""Evidence for metrics that can be counted by hand: concepts of few classes, and samples judged to be of given ones."""

from types import SimpleNamespace

import torch

from vdu.concepts.base import PromptSpec
from vdu.samples import Samples

NOTHING = SimpleNamespace(statistics={}, second=None)
# Two axes, as of garments in colours: cat and dog are of the first, red, green and blue of the second.
AXES = {"animal": ("cat", "dog"), "colour": ("red", "green", "blue")}
RED = SimpleNamespace(
    axes=AXES,
    classes=("cat", "dog", "red", "green", "blue"),
    takes_prompts=True,
    class_sets=((2,),),
    excluded_class_sets=((2,), (1, 3)),
    axes_named=[1],
    retained_classes=["green", "blue"],
    forgotten=("green dog",),
    class_sets_of={"green dog": ((1, 3),)}.get,
)
ONE_OF_THREE = SimpleNamespace(
    axes={"digit": ("0", "1", "2")},
    classes=("0", "1", "2"),
    takes_prompts=False,
    class_sets=((0,),),
    excluded_class_sets=((0,),),
    axes_named=[0],
    retained_classes=["1", "2"],
    forgotten=(),
)


def samples_of(classes, specs=None, features=None, certain=0.9) -> Samples:
    """Samples judged to be of classes (n, axes), with a probability."""
    classes = torch.tensor(classes)
    probabilities = torch.zeros(len(classes), 5).scatter(1, classes, certain)
    features = torch.zeros(len(classes), 2, dtype=torch.float64) if features is None else features
    return Samples(
        torch.zeros(len(classes), 1, 2, 2), probabilities, features, classes, tuple(specs or [PromptSpec()] * len(classes))
    )


def digits(shown, features=None) -> Samples:
    """Samples of a model without prompts."""
    return samples_of([[digit] for digit in shown], features=features)
