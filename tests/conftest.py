"""What all tests share: repeatable random numbers, few threads, figures that need no screen."""

from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # small networks: a second thread waits more than it works, most of all beside other programs


@pytest.fixture(autouse=True)
def _repeatable() -> Iterator[None]:
    """Seed the global generators before each test; close its figures afterwards."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - for the libraries that draw from it; ours takes generators
    yield
    plt.close("all")


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(0)
