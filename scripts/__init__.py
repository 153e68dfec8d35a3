"""What made the data and the results: run from the root of the repository, as `python -m scripts.data.make_ammonia`.

`data` labels structures and writes the data sets; `campaigns` repeats active learning over seeds; `setup` looks after
the environment, and imports nothing that is not there before it. `plans`, `labels`, `runs` and `agreement` hold what
the scripts keep.
"""
