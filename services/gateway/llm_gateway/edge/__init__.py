"""The side of the client: connections, half-closed ones, CORS, and the responses that the gateway makes itself."""
