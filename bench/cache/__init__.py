"""Measures what need not be asked twice: cached reads, the map behind them, and what compression leaves of them."""
