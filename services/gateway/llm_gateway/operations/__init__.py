"""For operators: the admin API, reload without restart, who may see names, the OpenAPI document."""
