# lictor on every client of a Nomad cluster, as the way in from outside: `nomad job run deploy/nomad/gateway.nomad.hcl`.
#
# It runs from an image on the host's network, so that clients' addresses stay what they are and ports are the host's. The agent of
# Consul is the one of the same host. What the token of the workload may do: deploy/consul/edge.hcl.

variable "image" {
  type        = string
  description = "The image with lictor, by version and not by a tag that moves."
  default     = "lictor:0.1.0"
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

job "lictor" {
  type        = "system"
  datacenters = var.datacenters

  # Before whatever else the clients run: it is how they are reached.
  priority = 80

  update {
    # One host after the other, each once the one before has been ready for a while.
    max_parallel     = 1
    min_healthy_time = "10s"
    healthy_deadline = "2m"
  }

  group "lictor" {
    network {
      mode = "host"

      port "http" {
        # What the image's user may bind; a balancer in front, or a redirect of the host's, has 80 and 443.
        static = 8080
      }

      port "admin" {
        static       = 9990
        host_network = "default"
      }
    }

    restart {
      attempts = 5
      interval = "2m"
      delay    = "2s"
      mode     = "delay"
    }

    service {
      name = "lictor"
      port = "http"
      tags = ["gateway"]

      # Ready, and not only alive: it is taken out of the catalogue before a drain refuses anything.
      check {
        name     = "ready"
        type     = "http"
        port     = "admin"
        path     = "/readyz"
        interval = "2s"
        timeout  = "1s"
      }
    }

    task "lictor" {
      driver = "docker"

      # A token for Consul that belongs to this workload, in CONSUL_HTTP_TOKEN.
      consul {}

      config {
        image           = var.image
        network_mode    = "host"
        args            = ["serve", "--config", "/local/lictor.toml"]
        cap_drop        = ["all"]
        readonly_rootfs = true

        # A client's connection and an endpoint's, for each that is served.
        ulimit {
          nofile = "1048576"
        }
      }

      env {
        # Host networks have no other way to the agent.
        CONSUL_HTTP_ADDR = "http://127.0.0.1:8500"
      }

      # Not SIGINT, which would be sent by default: a second one ends lictor at once.
      kill_signal = "SIGTERM"

      # Longer than drain.delay and drain.timeout together. More than 30 s the client's max_kill_timeout would have to allow.
      kill_timeout = "29s"

      template {
        destination   = "local/lictor.toml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-TOML
          workers = 2

          [admin]
          bind = "0.0.0.0:9990"
          token_file = "/secrets/admin-token"
          anonymous_metrics = true

          [[listeners]]
          name = "edge"
          bind = "0.0.0.0:8080"

          [[routes]]
          cluster = "web"

          [clusters.web]
          consul = { service = "web" }
          retry = { attempts = 2 }

          [drain]
          delay = "5s"
          timeout = "20s"
        TOML
      }

      # What operators show at the admin listener: `nomad var put nomad/jobs/lictor admin_token=…`, 16 bytes at least.
      template {
        destination = "secrets/admin-token"
        perms       = "600"
        uid         = 65532
        gid         = 65532
        # lictor reads it again by itself.
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/lictor\" }}{{ .admin_token }}{{ end }}"
      }

      resources {
        cpu        = 500
        memory     = 128
        memory_max = 512
      }
    }
  }
}
