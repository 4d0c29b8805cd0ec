"""docs/recipe.md agrees with the table of fields."""

from pathlib import Path

from vdu.fields import reference
from vdu.methods import METHODS
from vdu.recipe import FIELDS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "recipe.md"


def test_the_page_in_the_docs_is_up_to_date():
    assert PAGE.read_text() == reference() + "\n", "run: python -m vdu.fields > docs/recipe.md"


def test_it_has_a_row_per_field_and_per_method_and_kind():
    lines = reference().splitlines()
    for name, field in FIELDS.items():
        assert [line for line in lines if line.startswith(f"| `{name}` | {field.help} |")]
    for name, method in METHODS.items():
        assert sum(line.startswith(f"| `{name}` |") for line in lines) == len(method.defaults)
        for model, own in method.by_model.items():
            assert any(line.startswith(f"On `{model}`, `{name}`") and all(field in line for field in own) for line in lines)
