terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

provider "ylem" {}

resource "ylem_pipeline_run" "orders" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c" # as Ylem shows it on the pipeline's page
  wait_for_completion = true

  completion = {
    quiet_period = "30s" # longer than the longest task of any pipeline
  }
}

output "orders" {
  value = ylem_pipeline_run.orders.status
}
