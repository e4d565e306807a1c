"""When users come and go. Give one to Locust beside the locustfile: `-f bench/locustfile.py,bench/shapes/ramp.py`."""
