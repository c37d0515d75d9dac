# Beside edge.hcl: what a member of the mesh needs ([mesh]), for the service that it is there; see `mesh.service`.

# The right to its certificate, and to ask who may call it. Whoever has it can be that service: give it to nobody else.
service "edge" { policy = "write" }
