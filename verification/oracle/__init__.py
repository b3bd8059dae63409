"""The oracle: a model of a store in plain dicts, so simple that it is right, beside which real stores are run."""

from __future__ import annotations

from verification.oracle.backend import Oracle
from verification.oracle.store import Lease, Store

__all__ = ["Lease", "Oracle", "Store"]
