# Beside edge.hcl or egress.hcl: documents and certificates in the KV store.

# The prefix in [kv], and that of certificates in [listeners.tls].
# Reading them is enough. Whoever may write there says where requests go: give that to people or a pipeline, never to lictor.
key_prefix "lictor/" { policy = "read" }
