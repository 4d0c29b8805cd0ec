"""Model cards: README.md of a model folder, with its figures for people and, as a model-index, for the hub."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, metadata_load

TEMPLATES = Path(__file__).parent / "templates"
UNPROMPTED, PROMPTED, JUDGE = "unconditional-image-generation", "text-to-image", "image-classification"  # tasks of the hub
LICENCE = ("license", "license_name", "license_link")  # of a card; the latter two for a licence that is none of the hub's

Score = tuple[str, str, float]  # key in report.json or figures.json, what it is in words, value


def scores(task: str, dataset: tuple[str, str], figures: Iterable[Score]) -> list[EvalResult]:
    """Figures as the hub takes them.

    Args:
        task: one of the hub's.
        dataset: what they were measured on: an id of the hub or a word, and a name.
        figures: what was measured.
    """
    return [
        EvalResult(
            task_type=task,
            dataset_type=dataset[0],
            dataset_name=dataset[1],
            metric_type=key,
            metric_name=label,
            metric_value=value,
        )
        for key, label, value in figures
    ]


def own_samples(count: int) -> tuple[str, str]:
    """What figures of a model's own samples were measured on."""
    return "samples", f"{count:,} samples of the model itself"


def card_data(task: str, name: str, results: list[EvalResult], **also: Any) -> ModelCardData:
    """The head of a card; `name` is the model's in the model-index."""
    named = {"model_name": name, "eval_results": results} if results else {}
    library = "pytorch" if task == JUDGE else "diffusers"
    return ModelCardData(**{"library_name": library, "pipeline_tag": task} | named | also)


def card(template: str, data: ModelCardData, **values: Any) -> str:
    """A card in Markdown under its YAML.

    Args:
        template: a file of `TEMPLATES`, without its ending.
        data: the head; its fields can be used in the template too.
        values: what else the template uses.
    """
    return f"{ModelCard.from_template(data, template_path=str(TEMPLATES / f'{template}.md'), **values)}\n"


def licence_of(folder: Path | None) -> dict[str, str]:
    """What the card in a model folder says of the licence, by the fields in `LICENCE`; empty if it says nothing."""
    with suppress(Exception):  # no folder, no card there, or whatever its YAML raises
        head = metadata_load(folder / "README.md")
        return {field: head[field] for field in LICENCE if isinstance(head.get(field), str)}
    return {}
