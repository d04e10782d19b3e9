resource "ylem_pipeline_run" "report" {
  pipeline_uuid       = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
  wait_for_completion = true

  completion = {
    quiet_period  = "40s" # the server's longest task takes about half a minute
    poll_interval = "10s"
  }
}
