data "ylem_task_stats" "query" {
  task_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  from      = "2024-01-01"
  to        = "2024-01-31T23:59:59Z"
}

output "query_seconds" {
  value = data.ylem_task_stats.query.average_duration / 1000
}
