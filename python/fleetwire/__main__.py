"""`python -m fleetwire` is the command `fleetwire`."""

from fleetwire.cli import main

main()
