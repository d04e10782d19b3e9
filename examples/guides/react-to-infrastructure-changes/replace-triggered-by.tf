resource "ylem_pipeline_run" "report" {
  pipeline_uuid = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"

  lifecycle {
    replace_triggered_by = [terraform_data.bucket.output]
  }
}

# Stands for the bucket that the report is written to.
resource "terraform_data" "bucket" {
  input = "reports, version 2"
}
