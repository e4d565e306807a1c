"""Defines the fleet as Locust users. See bench/README.md; bench/users has the users, bench/shapes the load shapes.

locust -f bench/locustfile.py -H http://127.0.0.1:8000                                     with Locust's web page
locust -f bench/locustfile.py,bench/shapes/ramp.py --headless -u 1000 -t 2m -H http://...  without, with a shape
"""

from bench.users import options, save_results
from bench.users.console_visitor import ConsoleVisitor
from bench.users.dispatcher_feed import DispatcherFeed
from bench.users.dispatcher_reader import DispatcherReader
from bench.users.http_driver import HttpDriver
from bench.users.socket_driver import SocketDriver

__all__ = ["ConsoleVisitor", "DispatcherFeed", "DispatcherReader", "HttpDriver", "SocketDriver"]

options.register()
save_results.register()
