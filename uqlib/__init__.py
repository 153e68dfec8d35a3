"""Uncertainty quantification for neural-network interatomic potentials."""
