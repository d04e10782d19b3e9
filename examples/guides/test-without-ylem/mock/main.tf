terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

variable "release" {
  type    = string
  default = "1.4.2"
}

resource "ylem_pipeline_run" "orders" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  input               = jsonencode({ release = var.release })
  wait_for_completion = true

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
  }
}

data "ylem_pipeline_logs" "orders" {
  pipeline_uuid     = ylem_pipeline_run.orders.pipeline_uuid
  pipeline_run_uuid = ylem_pipeline_run.orders.id
  from              = ylem_pipeline_run.orders.triggered_at
}

output "summary" {
  value = "${ylem_pipeline_run.orders.status}, ${length(data.ylem_pipeline_logs.orders.logs)} tasks"

  precondition {
    condition     = !data.ylem_pipeline_logs.orders.truncated
    error_message = "The log is not complete."
  }
}
