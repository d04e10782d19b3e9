# The last seven days.
data "ylem_task_stats" "query" {
  task_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  lookback  = "168h"
}
