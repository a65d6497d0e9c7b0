"""The names under which Serve knows our applications and deployments."""

ENGINES = "llm_router.control.applications:engines"
EDGE = "llm_router.control.applications:edge"
ENGINE_DEPLOYMENT = "Engine"
EDGE_DEPLOYMENT = "Edge"
AUTOSCALING_POLICY = "llm_router.control.scaling.policy:policy"
