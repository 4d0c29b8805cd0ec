"""The one exception whose message is shown to the user."""


class UserError(ValueError):
    """Input that cannot be used; the message is one sentence that says what to do instead."""
