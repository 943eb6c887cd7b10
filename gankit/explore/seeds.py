"""The type of seeds, which flags need without torch."""


class Seeds(tuple):
    """Seeds as a flag takes them: 0-3,7."""
