"""`python -m fleetwire` is the command `fleetwire`."""

from fleetwire.cli.main import main

main()
