# What a lictor beside applications needs, which reach services through it by their names.

# Instances are shown only if their service and their node may both be read.
node_prefix "" { policy = "read" }

# Whatever applications may ask for; the same as `services` in [egress]: services = ["shop-*"] goes with service_prefix "shop-". It is
# also the right to read what Consul's config entries say of a service's protocol and timeouts.
service_prefix "" { policy = "read" }

# Optional: the agent says whether it is a server, so that followers may be asked and not only the leader.
agent_prefix "" { policy = "read" }
