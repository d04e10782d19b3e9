# The runs of a release, by its idempotency key.
list "ylem_pipeline_run" "release" {
  provider = ylem

  config {
    pipeline_uuid   = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
    idempotency_key = "release-1.4.2"
  }
}
