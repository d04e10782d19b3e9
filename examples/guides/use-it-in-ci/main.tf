variable "release" {
  type        = string
  description = "What this apply is for, such as a tag or a commit."
}

# The gate: no migration while the import of orders is broken.
data "ylem_pipeline_logs" "orders" {
  pipeline_uuid  = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  lookback       = "24h"
  include_output = false
}

resource "ylem_pipeline_run" "migrate" {
  pipeline_uuid       = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  input               = jsonencode({ release = var.release })
  idempotency_key     = var.release
  wait_for_completion = true

  completion = {
    final_task_uuids = ["a4f09d63-5c7e-4b18-8f2d-e6b13c97a058", "6e0c2b91-4f7d-4d3a-8b15-c9a27e84d360"]
  }

  timeouts {
    create = "30m"
    update = "30m"
  }

  lifecycle {
    precondition {
      condition     = length(data.ylem_pipeline_logs.orders.runs) > 0 && alltrue(data.ylem_pipeline_logs.orders.runs[*].is_successful)
      error_message = "The import of orders did not run in the last 24 hours, or a run failed."
    }
  }
}

# Markdown for the summary of the job. Some values are null until a task has reported, which %v can show.
output "summary" {
  value = join("\n", concat(
    [
      "### Migration: ${ylem_pipeline_run.migrate.status}",
      "",
      "Run ${ylem_pipeline_run.migrate.id}, release ${var.release}",
      "",
      "| task | state | milliseconds |",
      "|---|---|---|",
    ],
    [for task in ylem_pipeline_run.migrate.task_runs : format("| %v | %v | %v |", task.task_type, task.state, task.duration)],
    [""],
  ))
}
