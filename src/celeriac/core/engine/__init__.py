"""The worker's brain: `step(state, events, now) -> effects`, without I/O, clock or chance."""
