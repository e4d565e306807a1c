"""Rate limits: token buckets in the worker, shared over Redis where there is one."""
