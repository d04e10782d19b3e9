# The newest ten rows of the last day, without what the tasks returned.
data "ylem_pipeline_logs" "latest" {
  pipeline_uuid  = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  lookback       = "24h"
  limit          = 10
  include_output = false
}
