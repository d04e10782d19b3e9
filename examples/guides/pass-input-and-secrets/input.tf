resource "ylem_pipeline_run" "backfill" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  input         = jsonencode({ from = "2024-01-01", to = "2024-01-31" })
}
