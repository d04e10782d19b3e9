terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

# Signs in with YLEM_API_CLIENT_ID and YLEM_API_CLIENT_SECRET, and may only read.
provider "ylem" {
  scopes = ["stats:read"]
}

data "ylem_pipeline_last_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}

variable "runner_client_secret" {
  type      = string
  sensitive = true
}

# Signs in as another OAuth client, which may start runs.
provider "ylem" {
  alias         = "runner"
  client_id     = "c2f4a7e9-15b3-4d86-9e0a-8f3b6d1c5a72"
  client_secret = var.runner_client_secret
  scopes        = ["pipelines:run"]
}

resource "ylem_pipeline_run" "orders" {
  provider      = ylem.runner
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
