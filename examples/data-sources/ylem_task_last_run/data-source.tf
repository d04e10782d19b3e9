data "ylem_task_last_run" "query" {
  task_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
}

output "query_succeeded" {
  value = data.ylem_task_last_run.query.is_successful # null when it never ran
}
