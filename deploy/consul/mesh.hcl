# Beside edge.hcl or egress.hcl: being a member of the mesh.

# Who lictor is in the mesh: the right to its certificate, and to ask who may call it. Seeing others, and their sidecars, which are
# services as well (NAME-sidecar-proxy), is edge.hcl's service_prefix.
service "lictor" { policy = "write" }
