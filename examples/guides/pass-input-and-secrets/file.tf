resource "ylem_pipeline_run" "prices" {
  pipeline_uuid = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
  input         = file("${path.module}/prices.csv")
}
