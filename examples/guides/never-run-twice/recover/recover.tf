# Delete this file when the run has been imported.
locals {
  killed = "2024-01-31T02:00:00Z" # when the apply began
}

data "ylem_pipeline_logs" "since" {
  pipeline_uuid  = local.pipeline
  from           = local.killed
  include_output = false
}

import {
  to = ylem_pipeline_run.load
  id = "${local.pipeline}/${one(data.ylem_pipeline_logs.since.runs).pipeline_run_uuid}"
}
