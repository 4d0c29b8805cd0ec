"""The exceptions whose messages are shown to the user."""


class UserError(ValueError):
    """Input that cannot be used; the message is one sentence that says what to do instead."""


class NotFinite(UserError):
    """A model draws NaN or infinity. A changed model has then gone too far; an untouched one cannot be used."""

    def __init__(self) -> None:
        super().__init__(
            "What the model draws is not finite: check its weights and its noise schedule, or choose a smaller step size."
        )
