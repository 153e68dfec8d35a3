"""How a command says that it was asked for what cannot be; apart, so that it can be had without what commands need."""


class Stop(Exception):
    """Asked for something that cannot be: reported as bad usage."""
