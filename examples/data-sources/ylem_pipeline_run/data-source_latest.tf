# The newest run of the last day, and what a query returned in it.
data "ylem_pipeline_logs" "latest" {
  pipeline_uuid  = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  lookback       = "24h"
  limit          = 1
  include_output = false
}

data "ylem_pipeline_run" "latest" {
  pipeline_uuid   = data.ylem_pipeline_logs.latest.pipeline_uuid
  id              = data.ylem_pipeline_logs.latest.runs[0].pipeline_run_uuid
  include_outputs = true

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
  }
}

output "totals" {
  value     = jsondecode(data.ylem_pipeline_run.latest.outputs["449c3c47-427e-465e-b1d2-0bf257b714e4"])
  sensitive = true
}
