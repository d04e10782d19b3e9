data "ylem_pipeline_tasks" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}

output "tasks" {
  value = [for task in data.ylem_pipeline_tasks.orders.tasks : "${task.task_type} ${task.task_uuid}"]
}
