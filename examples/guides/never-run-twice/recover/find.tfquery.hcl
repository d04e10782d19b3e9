list "ylem_pipeline_run" "since" {
  provider = ylem

  config {
    pipeline_uuid = local.pipeline
    from          = local.killed
  }
}
