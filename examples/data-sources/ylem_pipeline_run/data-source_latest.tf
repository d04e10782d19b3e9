# The newest run of the last day, and what a query returned in it.
data "ylem_pipeline_logs" "latest" {
  pipeline_uuid  = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
  lookback       = "24h"
  limit          = 1
  include_output = false
}

data "ylem_pipeline_run" "latest" {
  pipeline_uuid   = data.ylem_pipeline_logs.latest.pipeline_uuid
  id              = data.ylem_pipeline_logs.latest.runs[0].pipeline_run_uuid
  include_outputs = true

  completion = {
    final_task_uuids = ["449c3c47-427e-465e-b1d2-0bf257b714e4"]
  }
}

output "totals" {
  value     = jsondecode(data.ylem_pipeline_run.latest.outputs["449c3c47-427e-465e-b1d2-0bf257b714e4"])
  sensitive = true
}
