"""The network, its forces, its training: `painn` to be read, `fast_painn` to be run, `evaluation` for both.

May import `structures` and `common`. A newcomer adds here a potential: any module that returns what `PaiNN` returns.
"""
