# What a query returned last.
data "ylem_pipeline_logs" "totals" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  task_uuid     = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  lookback      = "24h"
  is_successful = true
  limit         = 1
}

output "totals" {
  value = [for log in data.ylem_pipeline_logs.totals.logs : jsondecode(log.output)]
}
