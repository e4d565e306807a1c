"""The standard set of measurements: `python -m bench.report`."""
