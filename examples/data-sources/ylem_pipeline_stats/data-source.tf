# The last seven days.
data "ylem_pipeline_stats" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  lookback      = "168h"
}
