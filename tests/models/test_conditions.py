"""Conditions: rows of several tensors that belong together, or of no tensors."""

import pytest
import torch

from vdu.models import NO_CONDITION, Condition, has_bfloat16


def numbered(first, count=3):
    """Distinguishable rows: (count, 2, 2), and (count,)."""
    rows = torch.arange(first, first + count, dtype=torch.float32)
    return Condition({"tokens": rows.view(-1, 1, 1).expand(-1, 2, 2).clone(), "pooled": rows})


def pooled(condition):
    """The numbers of the rows; checks that both tensors have the same."""
    assert torch.equal(condition["tokens"][:, 1, 1], condition["pooled"])
    return condition["pooled"].tolist()


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ([2, 0, 0], [2, 0, 0]),
        (slice(1, None), [1, 2]),
        (torch.tensor([True, False, True]), [0, 2]),
        (torch.tensor([1, 1]), [1, 1]),
    ],
)
def test_rows_are_picked_from_all_tensors_alike(index, expected):
    assert pooled(numbered(0).rows(index)) == expected
    assert NO_CONDITION.rows(index).tensors == {}


def test_conditions_follow_one_another():
    assert pooled(Condition.cat([numbered(0, 2), numbered(7, 1), numbered(4, 2)])) == [0, 1, 7, 4, 5]
    assert Condition.cat([NO_CONDITION, NO_CONDITION]).tensors == {}
    with pytest.raises(ValueError, match="different families"):
        Condition.cat([numbered(0), NO_CONDITION])


def test_a_mask_chooses_between_two():
    mixed = numbered(0).where(torch.tensor([True, False, True]), numbered(10))
    assert pooled(mixed) == [0, 11, 2]
    assert NO_CONDITION.where(torch.tensor([True]), NO_CONDITION).tensors == {}


def test_a_processor_that_may_only_emulate_bfloat16_computes_in_float32(monkeypatch):
    for limit, possible in (("AVX2", False), ("avx512_core", False), ("AVX512_CORE_BF16", True), ("", True)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert has_bfloat16("cpu") == (possible and torch.cpu._is_avx512_bf16_supported())
