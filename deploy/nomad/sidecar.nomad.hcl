# lictor beside an application, in its group: the application asks http://127.0.0.1:15001 with the name of a service as its host, and has
# retries, ejection and the rest without a library. `app` stands for your own task.
#
# It starts before the application and ends after it. What the token of the workload may do: deploy/consul/egress.hcl.

variable "image" {
  type        = string
  description = "The image with lictor, by version and not by a tag that moves."
  default     = "lictor:0.1.0"
}

job "shop" {
  type        = "service"
  datacenters = ["*"]

  group "shop" {
    count = 2

    network {
      # A network of the group's own: nobody else reaches lictor's loopback.
      mode = "bridge"

      port "http" {
        to = 8080
      }
    }

    service {
      name = "shop"
      port = "http"

      check {
        type     = "http"
        path     = "/"
        interval = "5s"
        timeout  = "1s"
      }
    }

    task "app" {
      driver = "docker"

      config {
        image = "hashicorp/http-echo:1.0.0"
        args  = ["-listen=:8080", "-text=shop"]
        ports = ["http"]
      }

      env {
        http_proxy = "http://127.0.0.1:15001"
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }

    task "lictor" {
      driver = "docker"

      # Up before the application, and there until the application has ended.
      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      consul {}

      config {
        image           = var.image
        args            = ["serve", "--config", "/local/lictor.toml"]
        cap_drop        = ["all"]
        readonly_rootfs = true
      }

      env {
        # The agent of this host, as it is reached out of the group's network: its client_addr has to have that address.
        CONSUL_HTTP_ADDR = "http://${attr.unique.network.ip-address}:8500"
      }

      # Longer than the drain. More than 30 s the client's max_kill_timeout would have to allow.
      kill_timeout = "29s"

      template {
        destination   = "local/lictor.toml"
        change_mode   = "signal"
        change_signal = "SIGHUP"
        data          = <<-TOML
          # As many as the host has cores would not fit into the memory below.
          workers = 1

          [admin]
          bind = "127.0.0.1:9990"

          [[listeners]]
          name = "egress"
          bind = "127.0.0.1:15001"
          egress = true
          connect = true

          [defaults]
          retry = { attempts = 2 }

          [drain]
          delay = "1s"
          timeout = "20s"
        TOML
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
