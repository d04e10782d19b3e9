# Everything that failed in the last day, with its errors.
data "ylem_pipeline_logs" "failures" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  lookback      = "24h"
  is_successful = false
}

output "failures" {
  value = [for log in data.ylem_pipeline_logs.failures.logs : "${log.executed_at} ${log.task_type}: ${join(", ", log.errors[*].message)}"]
}
