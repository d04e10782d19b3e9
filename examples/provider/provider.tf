terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

# Signs in with YLEM_API_CLIENT_ID and YLEM_API_CLIENT_SECRET.
provider "ylem" {
  api_url         = "https://ylem.example.com"
  scopes          = ["pipelines:run", "stats:read"]
  request_timeout = "2m"
}

resource "ylem_pipeline_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
