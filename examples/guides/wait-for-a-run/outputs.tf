data "ylem_pipeline_logs" "import" {
  pipeline_uuid     = ylem_pipeline_run.import.pipeline_uuid
  pipeline_run_uuid = ylem_pipeline_run.import.id
  from              = ylem_pipeline_run.import.triggered_at
  to                = ylem_pipeline_run.import.finished_at
}

output "rows_read" {
  value = [for log in data.ylem_pipeline_logs.import.logs : jsondecode(log.output) if log.task_type == "query"]
}
