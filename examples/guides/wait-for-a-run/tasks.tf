data "ylem_pipeline_tasks" "stock" {
  pipeline_uuid = "9f4b7d15-e26a-4c83-b0d9-58a3c1f7e642"
}

resource "ylem_pipeline_run" "stock" {
  pipeline_uuid       = data.ylem_pipeline_tasks.stock.pipeline_uuid
  wait_for_completion = true

  completion = {
    final_task_uuids = data.ylem_pipeline_tasks.stock.final_task_uuids
  }

  lifecycle {
    precondition {
      condition     = data.ylem_pipeline_tasks.stock.is_uniform
      error_message = "The log does not show which tasks a run has: name the final ones."
    }
  }
}
