"""Load shapes for Locust: `-f bench/locustfile.py,bench/shapes/ramp.py`."""
