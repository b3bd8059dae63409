"""The script among the crons: forgets ended jobs, which else are kept for a week, so that the store can be flat."""

from __future__ import annotations

from pseudocron.cli import main

if __name__ == "__main__":
    main(["jobs", "purge", "--older-than", "30s"])
