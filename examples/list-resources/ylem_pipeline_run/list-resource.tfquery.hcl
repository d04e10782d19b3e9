# The runs of the last 24 hours.
list "ylem_pipeline_run" "today" {
  provider = ylem

  config {
    pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  }
}
