"""What is to be forgotten: a class, an attribute, a prompt, or what a user's pictures show."""
