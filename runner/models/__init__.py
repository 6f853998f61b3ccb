"""Whatever answers prompts: one protocol, local models, services, sandboxed workers."""
