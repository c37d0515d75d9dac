# Beside edge.hcl or egress.hcl: entering lictor itself in the catalogue.

# The name under which it enters itself, and one rule more for each neighbour that it enters. Not a prefix: whoever may write a service
# may take its traffic.
service "lictor" { policy = "write" }
