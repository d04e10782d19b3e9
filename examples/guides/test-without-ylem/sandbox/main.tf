terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}

variable "pipeline_uuid" {
  type    = string
  default = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}

variable "final_task_uuid" {
  type    = string
  default = "d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"
}

variable "poll_interval" {
  type    = string
  default = "5s"
}

variable "timeout" {
  type    = string
  default = "2h"
}

resource "ylem_pipeline_run" "this" {
  pipeline_uuid       = var.pipeline_uuid
  wait_for_completion = true
  on_failure          = "warn" # the postcondition decides
  on_timeout          = "warn"

  completion = {
    final_task_uuids = [var.final_task_uuid]
    poll_interval    = var.poll_interval
  }

  timeouts {
    create = var.timeout
  }

  lifecycle {
    postcondition {
      condition     = self.status == "succeeded"
      error_message = "The run is ${self.status}: ${join(", ", flatten(self.task_runs[*].errors[*].message))}"
    }
  }
}
