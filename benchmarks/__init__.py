"""Speed and memory of `uqlib` beside other implementations of the same network, in one run."""
