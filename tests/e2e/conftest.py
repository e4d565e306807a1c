from harness.fixtures import client, module_database, rival, server, session, tenant

__all__ = ["client", "module_database", "rival", "server", "session", "tenant"]
