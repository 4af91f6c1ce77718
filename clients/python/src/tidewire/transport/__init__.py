"""How frames travel: one module for each transport."""

from .link import Dialer, Inflow, Link, Trust, dial

__all__ = ["Dialer", "Inflow", "Link", "Trust", "dial"]
