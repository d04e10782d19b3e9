# A run that ends when all tasks have reported. If the tasks differ from run to run, it ends after a silence instead.
resource "ylem_pipeline_run" "orders" {
  pipeline_uuid       = data.ylem_pipeline_tasks.orders.pipeline_uuid
  wait_for_completion = true

  completion = {
    final_task_uuids = data.ylem_pipeline_tasks.orders.final_task_uuids
    quiet_period     = data.ylem_pipeline_tasks.orders.suggested_quiet_period
  }
}
