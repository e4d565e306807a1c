"""Who uses the system: drivers over HTTP and WebSocket, dispatchers who watch and read, visitors of the console."""
