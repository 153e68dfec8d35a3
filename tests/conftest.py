"""What all tests share: repeatable random numbers, few threads, figures that need no screen."""

import os
from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

torch.set_num_threads(min(2, os.cpu_count() or 1))


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
