terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

variable "access_secret" {
  type      = string
  sensitive = true
}

provider "ylem" {
  api_url = "https://ylem.example.com"
  headers = {
    "CF-Access-Client-Id"     = "88bf3b6d86161464f6509f7219099e57.access"
    "CF-Access-Client-Secret" = var.access_secret
  }
}

resource "ylem_pipeline_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
