# What lictor needs where services say themselves what their routes are ([service_routes]).

# Instances are shown only if their service and their node may both be read.
node_prefix "" { policy = "read" }

# Whoever may claim routes; the same as `services` in [service_routes]: services = ["web-*"] goes with service_prefix "web-". Who claims
# any is read off the list of all services, on which only those stand that may be read.
service_prefix "" { policy = "read" }

# Route commands: `kv` in [service_routes]. Leave it out where that is not set.
key_prefix "fabio/config" { policy = "read" }

# Optional: the agent says whether it is a server, so that followers may be asked and not only the leader.
agent_prefix "" { policy = "read" }
