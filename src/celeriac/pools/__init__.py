"""What runs tasks: child hosts with slots, and the node's side of them. A pool never sees a broker."""
