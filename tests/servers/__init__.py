"""The servers that people run, as processes of their own, with ``jit_middleware.wrapped`` and no code at all."""
