# The import of orders once more. This time the apply waits for the run, and fails if the run does.

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

variable "timeout" {
  description = "How long to wait for a run."
  type        = string
  default     = "1m"
}

resource "ylem_pipeline_run" "nightly" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  wait_for_completion = true
  on_timeout          = "warn" # and the next apply resumes waiting

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"] # the pipeline's last task
    poll_interval    = "200ms"                                  # the default, 5s, is too slow to watch
  }

  timeouts {
    create = var.timeout
    update = var.timeout
  }
}
