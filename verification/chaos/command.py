"""`python -m verification.chaos.command work --crons crons.py`: a command of pseudocron's by the clock of its host."""

from __future__ import annotations

from pseudocron.cli import main
from verification.chaos import application

if __name__ == "__main__":
    assert application.processes
    main()
