"""Several nodes as one service: Consul, nginx, a replica set and davstore as real processes."""
