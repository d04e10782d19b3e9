# The newest ten runs of the last week that failed, with their tasks and errors in terraform query -json.
list "ylem_pipeline_run" "failed" {
  provider         = ylem
  limit            = 10
  include_resource = true

  config {
    pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
    lookback      = "168h"
    status        = "failed"
  }
}
