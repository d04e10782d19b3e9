# The runs since the pipeline was changed.
data "ylem_pipeline_tasks" "changed" {
  pipeline_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  from          = "2024-01-31"
  max_runs      = 5
}

output "is_uniform" {
  value = data.ylem_pipeline_tasks.changed.is_uniform
}
