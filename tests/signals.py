"""Signals for programs that tests start."""

import signal


def heeded() -> None:
    """For `preexec_fn`: interrupts and hang-ups count, also where `nohup` or a shell's background ignores them."""
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_DFL)
