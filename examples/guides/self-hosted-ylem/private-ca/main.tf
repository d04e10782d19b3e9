terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

provider "ylem" {
  api_url     = "https://ylem.internal"
  ca_cert_pem = file("${path.module}/ca.pem")

  # Only where Ylem asks for a client certificate.
  client_cert_pem = file("${path.module}/client.pem")
  client_key_pem  = file("${path.module}/client.key")
}

resource "ylem_pipeline_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
