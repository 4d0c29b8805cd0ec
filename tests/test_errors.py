"""Messages: short, on one line, and about what the user can change."""

import pytest
import torch

from vdu.errors import LITTLE_MEMORY, LONGEST_QUOTE, LONGEST_SENTENCE, foreseen, one_line, quoted, sentence


def test_a_message_has_no_control_characters_and_short_quotes():
    said = sentence(f"The model's folder '{'x' * 500}' is\n not\x1b[0m the '{'it' * 9}' we know.")
    assert said.startswith("The model's folder 'xxx")
    assert said.endswith(f" is not [0m the '{'it' * 9}' we know.")
    assert len(said) < 150
    assert one_line("a\u202e\tb\r\n") == "a b"


def test_a_message_of_any_length_keeps_its_beginning_and_its_end():
    said = sentence("Begin " + "'a " * 3000 + " end.")
    assert said.startswith("Begin")
    assert len(said) == LONGEST_SENTENCE


@pytest.mark.parametrize(
    "value", ["x" * 10**6, 10**5000, [[[[[]]]]] * 10**4, dict.fromkeys(range(10**4)), b"x" * 10**6], ids=type
)
def test_a_value_of_any_size_is_quoted_in_a_few_letters(value):
    assert len(quoted(value)) <= LONGEST_QUOTE


def test_a_value_that_contains_itself_is_quoted():
    value = []
    for _ in range(10**5):
        value = [value]
    assert quoted(value) == "[[[...]]]"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), LITTLE_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), LITTLE_MEMORY),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), LITTLE_MEMORY),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ""),
        (ValueError("not enough memory"), ""),
    ],
)
def test_an_error_of_the_machine_says_what_to_do(error, words):
    assert foreseen(error) == words
