"""The HTTP edge: the Litestar application, middleware, API description, console, operators' routes."""
