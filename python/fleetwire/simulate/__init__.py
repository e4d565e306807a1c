"""A simulated fleet that talks to the server as driver apps do.

streets (names, ways)   the town                 vehicle   the truth: where it is, how fast
phone                   what is measured of it   outbox    what has no receipt yet
link                    posts and sockets        device    one driver's app
fleet                   simulate(): all of them  options   what the fleet looks like
"""

from fleetwire.simulate.device import Counts
from fleetwire.simulate.fleet import simulate
from fleetwire.simulate.options import SimulateOptions
from fleetwire.simulate.streets import Streets, build_streets

__all__ = ["Counts", "SimulateOptions", "Streets", "build_streets", "simulate"]
