# What an edge lictor needs: to see the services that its clusters name.

# Instances are shown only if their service and their node may both be read. Without this rule every list is empty, and Consul does not
# say so. Nodes are seldom named in advance; narrow it with node_prefix "web-" if yours are.
node_prefix "" { policy = "read" }

# All services. Or one rule for each: service "web" { policy = "read" }
service_prefix "" { policy = "read" }

# Optional: the agent says whether it is a server, so that followers may be asked and not only the leader; and where it stands,
# for `locality`.
agent_prefix "" { policy = "read" }
