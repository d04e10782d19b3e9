# Two pipelines of a small shop: one imports orders, one sends a report. Terraform runs both, and reads what Ylem
# knows about their runs.

terraform {
  required_version = ">= 1.11"

  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

# The address and the credentials come from YLEM_API_URL, YLEM_API_CLIENT_ID and YLEM_API_CLIENT_SECRET.
provider "ylem" {}

variable "release" {
  description = "Release of the shop. A new one imports the orders again."
  type        = string
  default     = "1.0"
}

locals {
  orders       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c" # the pipeline that imports orders
  orders_query = "449c3c47-427e-465e-b1d2-0bf257b714e4" # the task in it that asks the shop's database
  report       = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03" # the pipeline that sends the report
}

# One resource is one run. The input is what the pipeline's External trigger task receives.
resource "ylem_pipeline_run" "orders" {
  pipeline_uuid = local.orders
  input         = jsonencode({ from = "2024-04-01", to = "2024-04-07" })
  triggers      = { release = var.release }
}

resource "ylem_pipeline_run" "report" {
  pipeline_uuid = local.report
}
