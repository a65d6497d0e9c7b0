"""For operators: the admin API, reload without restart, access to names, and the OpenAPI document."""
