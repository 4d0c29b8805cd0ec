"""The one exception whose message is meant for the user's eyes."""


class UserError(ValueError):
    """Input that cannot be used; the message is one sentence that says what to do instead."""
