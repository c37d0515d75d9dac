# What Consul knows: three instances of one service, each with a check.

services {
  name    = "web"
  id      = "web1"
  address = "172.30.99.11"
  port    = 5678
  check {
    http     = "http://172.30.99.11:5678/"
    interval = "5s"
    timeout  = "1s"
  }
}

services {
  name    = "web"
  id      = "web2"
  address = "172.30.99.12"
  port    = 5678
  check {
    http     = "http://172.30.99.12:5678/"
    interval = "5s"
    timeout  = "1s"
  }
}

services {
  name    = "web"
  id      = "web3"
  address = "172.30.99.13"
  port    = 5678
  check {
    http     = "http://172.30.99.13:5678/"
    interval = "5s"
    timeout  = "1s"
  }
}
