"""Connections to Redis or Valkey: standalone, Sentinel, or Cluster."""
