# The number of runs in January that failed. Ylem's statistics count failed tasks instead.
data "ylem_pipeline_logs" "january" {
  pipeline_uuid  = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  from           = "2024-01-01"
  to             = "2024-01-31T23:59:59Z"
  include_output = false
}

output "failed_runs" {
  value = length([for run in data.ylem_pipeline_logs.january.runs : run if run.is_successful == false])
}
