"""Events: a log per tenant, published in rooms, acknowledged by watchers."""
