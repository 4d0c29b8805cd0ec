"""The exceptions whose messages are shown to the user."""


class UserError(ValueError):
    """Input that cannot be used; the message is one sentence that says what to do instead."""


class BrokenImages(UserError):
    """A model draws nothing that can be judged. A changed model has then gone too far; an untouched one cannot be used.

    Args:
        what: what it draws instead, as the end of a sentence.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"The model draws {what}: check its weights and its noise schedule, or choose a smaller step size.")
