terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

provider "ylem" {
  api_url   = "https://ylem.example.com"             # or the environment variable YLEM_API_URL; without both: the hosted service
  client_id = "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10" # or the environment variable YLEM_API_CLIENT_ID
  # The secret comes from the environment variable YLEM_API_CLIENT_SECRET.
}

resource "ylem_pipeline_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
