"""`python -m chaos.process work --crons crons.py`: a command of pseudocron's by the clock of its host."""

from __future__ import annotations

from chaos import application
from pseudocron.cli import main

if __name__ == "__main__":
    assert application.watches
    main()
