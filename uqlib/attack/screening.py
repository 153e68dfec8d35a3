"""What is worth a label: uncertain, physically possible, and not known yet. With a reason for everything dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
import torch
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from uqlib.attack.objective import percentile as percentile_of
from uqlib.attack.objective import structure_uncertainty
from uqlib.prediction import Predictor, pieces_for, placed
from uqlib.structures.datasets import Dataset

REASONS = ("kept", "not finite", "too close", "too certain", "duplicate", "over the limit")
REACH = 1.5  # times the sum of covalent radii: contacts are looked for up to there


@dataclass(frozen=True, kw_only=True)
class Screening:
    """S candidates and what became of each."""

    kept: list[ase.Atoms]  # the most uncertain first
    order: list[int]  # which candidates these are
    reasons: list[str]  # S, each one of `REASONS`
    counts: dict[str, int]  # reason -> how many, all of `REASONS`
    uncertainty: np.ndarray  # (S,)  eV/Å or nats; nan where it was not asked for
    threshold: float  # what it had to exceed
    contact: np.ndarray  # (S,)  closest contact over the sum of the covalent radii; inf without any
    rmsd: np.ndarray  # (S,)  Å to the nearest known or kept structure; nan where it was not asked for

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.counts.items() if count)


def screen(
    predictor: Predictor,
    structures: Sequence[ase.Atoms],
    known: Dataset | Sequence[ase.Atoms],
    *,
    percentile: float = 80.0,
    closest: float = 0.7,
    rmsd: float = 0.05,
    limit: int | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> Screening:
    """Sort candidates into those worth a label and the rest. Each gets the first reason that applies, in this order:

    * "not finite": positions or cell are not, or the prediction is not, or its attack stopped for such a reason
    * "too close": two atoms nearer than `closest` times the sum of their covalent radii (Cordero et al. 2008)
    * "too certain": uncertainty not above that percentile of the known structures' uncertainty
    * "duplicate": `aligned_rmsd` below `rmsd` Å to a known structure, or to a more uncertain candidate that is kept
    * "over the limit": `limit` more uncertain ones are kept already

    `known` is the training set, or whatever has been labelled by now. `dtype`, `device`: None: the predictor's own;
    otherwise it is brought there. Raises ValueError for a percentile outside 0 to
    100, negative distances or limit, and no known structures.
    """
    for name, value in (("closest", closest), ("rmsd", rmsd), ("limit", limit)):
        if value is not None and not value >= 0:
            raise ValueError(f"{name}: got {value}, expected 0 or more")
    labelled = list(known.atoms if isinstance(known, Dataset) else known)
    if not labelled:
        raise ValueError("known: got no structures, expected at least one to compare with")
    predictor = placed(predictor, device=device, dtype=dtype)
    threshold = percentile_of(torch.as_tensor(uncertainty_of(predictor, labelled)), percentile)
    reasons = [""] * len(structures)
    contact, uncertainty, nearest = (np.full(len(structures), np.nan) for _ in range(3))
    for k, atoms in enumerate(structures):
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell).all()):
            reasons[k] = "not finite"
            continue
        contact[k] = closest_contact(atoms)
        if contact[k] < closest:
            reasons[k] = "too close"
        elif "stopped" in atoms.info:
            reasons[k] = "not finite"
    if possible := [k for k, reason in enumerate(reasons) if not reason]:
        uncertainty[possible] = uncertainty_of(predictor, [structures[k] for k in possible])
    for k in possible:
        if not np.isfinite(uncertainty[k]):
            reasons[k] = "not finite"
        elif uncertainty[k] <= threshold:
            reasons[k] = "too certain"
    order: list[int] = []
    for k in sorted((k for k in possible if not reasons[k]), key=lambda k: -uncertainty[k]):
        compared = [*labelled, *(structures[other] for other in order)]
        nearest[k] = aligned_rmsd(structures[k], compared).min()
        if nearest[k] < rmsd:
            reasons[k] = "duplicate"
        elif limit is not None and len(order) >= limit:
            reasons[k] = "over the limit"
        else:
            reasons[k] = "kept"
            order.append(k)
    tally = Counter(reasons)
    return Screening(
        kept=[structures[k] for k in order],
        order=order,
        reasons=reasons,
        counts={reason: tally[reason] for reason in REASONS},
        uncertainty=uncertainty,
        threshold=threshold,
        contact=contact,
        rmsd=nearest,
    )


def uncertainty_of(predictor: Predictor, structures: Sequence[ase.Atoms]) -> np.ndarray:
    """(S,) of structures whose labels are not looked at, a batch at a time, as `structure_uncertainty`."""
    plain = Dataset(name="candidates", atoms=tuple(atoms.copy() for atoms in structures))
    found = [
        structure_uncertainty(predictor.predict(batch), batch).detach().cpu().numpy()
        for batch in pieces_for(predictor, plain)
    ]
    return np.concatenate(found)


def closest_contact(atoms: ase.Atoms) -> float:
    """The smallest distance over the sum of both covalent radii, periodic images included; inf beyond 1.5."""
    radii = covalent_radii[atoms.numbers]
    i, j, distance = neighbor_list("ijd", atoms, cutoff=REACH * radii)
    return float((distance / (radii[i] + radii[j])).min()) if len(distance) else float("inf")


def aligned_rmsd(atoms: ase.Atoms, others: Sequence[ase.Atoms]) -> np.ndarray:
    """(len(others),) Å, root mean square distance of the atoms from their like; inf to other atoms or cells.

    Atoms are taken in the order given: no permutations are tried. Isolated structures are superposed (Kabsch 1976);
    mirror images count as the same, as they do for energies. Periodic ones are shifted onto each other and each atom
    goes to the nearest image; there a change of the cell counts too, by how far its longest-moving edge moves.
    """
    result = np.full(len(others), np.inf)
    alike = [
        k for k, other in enumerate(others)
        if np.array_equal(other.numbers, atoms.numbers) and np.array_equal(other.pbc, atoms.pbc)
    ]  # fmt: skip
    if not alike:
        return result
    points = np.stack([others[k].positions for k in alike])
    if not atoms.pbc.any():
        here, there = atoms.positions - atoms.positions.mean(0), points - points.mean(1, keepdims=True)
        overlap = np.linalg.svd(np.einsum("na,knb->kab", here, there), compute_uv=False).sum(1)
        square = (here**2).sum() + (there**2).sum((1, 2)) - 2 * overlap
        result[alike] = np.sqrt(np.maximum(square, 0.0) / len(atoms))
        return result
    cells = np.stack([np.asarray(others[k].cell.complete()) for k in alike])
    mine = np.asarray(atoms.cell.complete())
    apart = points @ np.linalg.inv(cells) - atoms.positions @ np.linalg.inv(mine)  # in cells
    apart -= apart[:, :1]  # a common shift means nothing; the first atom lies on the first
    # Rounding finds the nearest image of whatever is close, in skewed cells too; what is far may come out farther.
    apart -= np.where(atoms.pbc, np.round(apart), 0.0)
    moved = (apart - apart.mean(1, keepdims=True)) @ mine
    edges = np.linalg.norm((cells - mine) * atoms.pbc[:, None], axis=2).max(1)
    result[alike] = np.maximum(np.sqrt((moved**2).sum(2).mean(1)), edges)
    return result
