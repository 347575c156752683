"""What a workflow means: building one, giving it its ids, and what follows when one of its tasks has ended. Pure."""
