"""The fleet as Locust users; bench/README.md says how to run it, bench/users who they are, bench/shapes when they come.

locust -f bench/locustfile.py -H http://127.0.0.1:8000                                     with Locust's web page
locust -f bench/locustfile.py,bench/shapes/ramp.py --headless -u 1000 -t 2m -H http://...  without, in a shape
"""

from bench.users import options, saving
from bench.users.console import ConsoleVisitor
from bench.users.feed import DispatcherFeed
from bench.users.posting import HttpDriver
from bench.users.reading import DispatcherReader
from bench.users.socket import SocketDriver

__all__ = ["ConsoleVisitor", "DispatcherFeed", "DispatcherReader", "HttpDriver", "SocketDriver"]

options.register()
saving.register()
