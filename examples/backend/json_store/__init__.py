"""A backend in one JSON file: an example of the contract, not of speed."""

from __future__ import annotations

from json_store.backend import JsonFile, open_url

__all__ = ["JsonFile", "open_url"]
