"""Simulates a fleet of driver apps that send fixes to a server.

streets (names, street_graph)   builds the town
vehicle                         moves along the streets: true position and speed
phone                           measures the vehicle: fixes with GPS noise
outbox                          buffers fixes until they are acknowledged
transport                       sends batches over HTTP or a WebSocket
device                          one driver app: samples, sends, retries
fleet                           `simulate()`: all devices in one event loop
options                         size and behaviour of the fleet
"""

from fleetwire.simulate.device import FleetCounts
from fleetwire.simulate.fleet import simulate
from fleetwire.simulate.options import SimulateOptions
from fleetwire.simulate.streets import Streets, build_streets

__all__ = ["FleetCounts", "SimulateOptions", "Streets", "build_streets", "simulate"]
