"""The network: its geometry against finite differences, its recipe, its members."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest
import samples
import torch
from samples import batch_of, crystal, rattled

from uqlib.networks.evaluation import evaluate
from uqlib.networks.painn import Geometry, PaiNN


def pair(distance: float | torch.Tensor, *, cutoff: float = samples.CUTOFF):
    """A batch with two atoms at a distance, whatever the cutoff."""
    batch = batch_of(rattled("O2", 0))
    positions = torch.zeros(2, 3, dtype=torch.float64)
    positions[1, 0] = distance
    return dataclasses.replace(batch, positions=positions, cutoff=cutoff)


def test_radial_functions_in_closed_form() -> None:
    """Eq. 12 of the paper: sin(nπd/c)/d, under (cos(πd/c) + 1)/2."""
    d, c = 1.3, samples.CUTOFF
    found = Geometry.of(pair(d), 5)
    n = torch.arange(1, 6, dtype=torch.float64)
    damping = 0.5 * (torch.cos(torch.tensor(torch.pi * d / c, dtype=torch.float64)) + 1)
    torch.testing.assert_close(found.basis[0, :5], torch.sin(n * torch.pi * d / c) / d * damping)
    assert found.basis[0, 5].item() == pytest.approx(damping.item())
    torch.testing.assert_close(found.direction, torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]], dtype=torch.float64))
    torch.testing.assert_close(found.distance, torch.full((2, 1), d, dtype=torch.float64))


@pytest.mark.parametrize("d", [0.3, 1.0, 2.7, 3.999])
def test_slopes_of_the_radial_functions(d: float) -> None:
    h = 1e-6
    up, down = Geometry.of(pair(d + h), 5).basis, Geometry.of(pair(d - h), 5).basis
    torch.testing.assert_close(Geometry.of(pair(d), 5).slope, (up - down) / (2 * h), rtol=1e-6, atol=1e-7)


def test_nothing_happens_at_the_cutoff() -> None:
    """Basis and slope go to zero there: energies and forces have no step when an atom comes into sight."""
    edge = Geometry.of(pair(samples.CUTOFF), 5)
    assert edge.basis.abs().max() < 1e-15
    assert edge.slope.abs().max() < 1e-15


def test_forces_are_continuous_across_the_cutoff() -> None:
    model = samples.small_network()
    atoms = rattled("O2", 0)
    results = []
    for distance in (samples.CUTOFF - 1e-5, samples.CUTOFF + 1e-5):
        atoms.positions = [[0, 0, 0], [distance, 0, 0]]
        results.append(evaluate(model, batch_of(atoms)))
    torch.testing.assert_close(results[0].energy, results[1].energy, rtol=0, atol=1e-9)
    assert results[0].forces.abs().max() < 1e-4


def test_a_seed_fixes_the_weights_and_leaves_torchs_generator() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = (PaiNN(elements=[1, 8], features=8, seed=seed) for seed in (0, 0, 1))
    assert torch.get_rng_state().equal(before)
    assert all(p.equal(q) for p, q in zip(one.parameters(), same.parameters(), strict=True))
    assert not one.embedding.equal(other.embedding)


def test_threads_do_not_share_their_random_numbers() -> None:
    def weights(seed: int) -> list[torch.Tensor]:
        return list(PaiNN(elements=[1, 8], features=16, seed=seed).parameters())

    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(weights, range(16)))
    for seed, parameters in enumerate(found):
        assert all(p.equal(q) for p, q in zip(parameters, weights(seed), strict=True))


def test_the_recipe_makes_the_same_network_again() -> None:
    one = PaiNN(elements=[8, 1], features=8, interactions=2, radial=5, cutoff=4, heads={"a": 2})
    two = PaiNN(**one.recipe)
    assert two.recipe == one.recipe
    two.load_state_dict(one.state_dict())
    assert one.recipe["elements"] == [1, 8]


def test_the_order_of_elements_does_not_matter() -> None:
    batch = batch_of(rattled("H2O", 0))
    one, two = (PaiNN(elements=e, seed=0, **samples.NETWORK).double() for e in ([1, 8], [8, 1]))  # pyright: ignore[reportArgumentType]
    assert evaluate(one, batch).energy.equal(evaluate(two, batch).energy)


def test_elements_are_told_apart() -> None:
    model = samples.small_network()
    atoms = rattled("O2", 0)
    other = atoms.copy()
    other.numbers = [7, 8]
    one, two = evaluate(model, batch_of(atoms)), evaluate(model, batch_of(other))
    assert (one.forces - two.forces).abs().max() > 1e-6


def test_heads() -> None:
    result = evaluate(samples.small_network(heads=True), batch_of(rattled("NH3", 0), crystal()))
    assert result.heads["spread"].shape == (8, 2)
    assert result.features.shape == (8, samples.NETWORK["features"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"elements": []}, r"elements: got \[\], expected distinct atomic numbers"),
        ({"elements": [1, 1]}, "distinct"),
        ({"elements": [0, 1]}, "distinct atomic numbers"),
        ({"elements": [119]}, "elements"),
        ({"features": 0}, "features: got 0, expected at least 1"),
        ({"interactions": 0}, "interactions: got 0"),
        ({"radial": 0}, "radial: got 0"),
        ({"members": 0}, "members: got 0"),
        ({"heads": {"spread": 0}}, "spread: got 0"),
        ({"cutoff": 0.0}, r"cutoff: got 0\.0"),
        ({"cutoff": float("nan")}, "cutoff: got nan"),
    ],
)
def test_bad_recipes(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PaiNN(**{"elements": [1, 8], **options})


def test_options_are_not_swallowed() -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        PaiNN(elements=[1], feature=8)  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_reference_energies_stay_exact(dtype: torch.dtype) -> None:
    model = PaiNN(elements=[1, 8], features=8)
    model.atom_energies.copy_(torch.tensor([-13.600000001, -2042.600000001]))
    before = model.atom_energies.clone()
    model.to(dtype)
    assert model.embedding.dtype == model.scale.dtype == dtype
    assert model.atom_energies.dtype == torch.float64
    assert model.atom_energies.equal(before)
    assert "atom_energies" in model.state_dict()
