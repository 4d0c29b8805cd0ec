"""The exceptions whose messages are shown to the user, and the words of their messages."""

import errno
import re
import reprlib
from typing import Any

LONGEST_QUOTE = 60  # letters of a quoted value at most
LONGEST_SENTENCE = 600  # letters of a message to a visitor at most
QUOTE = re.compile(r"(?<!\w)'(.*?)'(?!\w)")  # an apostrophe inside a word ends no quote
LITTLE_MEMORY = "There is too little memory for this; use fewer samples, a smaller batch size or a smaller model."
# What PyTorch says where it raises a plain RuntimeError.
OF_MEMORY = ("not enough memory", "DefaultCPUAllocator", "can't allocate memory", "CUDA out of memory")
# Error number of the operating system -> what to do about it.
OF_SYSTEM = {
    errno.ENAMETOOLONG: "A name is too long for this machine; use a shorter one.",
    errno.ENOSPC: "The disk is full; free some space, or write to another disk.",
    errno.EDQUOT: "Your share of the disk is used up; delete some files, or write to another disk.",
    errno.EROFS: "The disk cannot be written to; choose a folder on another disk.",
    errno.EMFILE: "Too many files are open on this machine; try again in a minute.",
}

SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = LONGEST_QUOTE
SHORT.maxlevel = 2  # a value nested deeper than Python's stack has no `repr`
SHORT.maxlist = SHORT.maxdict = SHORT.maxtuple = 4


class UserError(ValueError):
    """Input that cannot be used; the message is one sentence that says what to do instead."""


class PictureWarning(UserWarning):
    """What a user must know of their pictures: what is left out, not used, or assumed."""


class BrokenImages(UserError):
    """A model draws nothing that can be judged. A changed model has then gone too far; an untouched one cannot be used.

    Args:
        what: what it draws instead, as the end of a sentence.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"The model draws {what}: check its weights and its noise schedule, or choose a smaller step size.")


def quoted(value: Any) -> str:
    """Any value in at most `LONGEST_QUOTE` letters, as Python writes it."""
    try:
        return shortened(SHORT.repr(value))
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number that is too long to write"


def shortened(text: str, longest: int = LONGEST_QUOTE) -> str:
    """A text without its middle if it has more than `longest` letters."""
    tail = longest // 3
    return text if len(text) <= longest else f"{text[: longest - tail - 1]}…{text[-tail:]}"


def one_line(text: str) -> str:
    """A text without line breaks, control characters and characters that change the direction of writing."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def sentence(text: str) -> str:
    """A message for a visitor: one line in which every quote is short."""
    brief = one_line(shortened(text, 20 * LONGEST_SENTENCE))  # a pattern's time grows with the square of the length
    brief = QUOTE.sub(lambda found: f"'{shortened(found[1])}'", brief)
    return shortened(brief, LONGEST_SENTENCE)


def foreseen(error: BaseException) -> str:
    """The sentence for an error of the machine that the user can do something about; "" for any other error."""
    of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if of_memory or (isinstance(error, RuntimeError) and any(words in str(error) for words in OF_MEMORY)):
        return LITTLE_MEMORY
    return OF_SYSTEM.get(error.errno, "") if isinstance(error, OSError) else ""


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a one-line sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
