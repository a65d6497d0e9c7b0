"""The client side: connections, half-closed clients, CORS, and the responses that the service makes itself."""
