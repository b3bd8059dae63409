"""`python -m pseudocron` is the command `pseudocron`."""

from pseudocron.cli import main

if __name__ == "__main__":
    main()
