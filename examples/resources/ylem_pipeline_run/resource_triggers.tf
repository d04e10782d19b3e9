# Run again whenever something else changes, such as a file or an attribute of another resource.
resource "ylem_pipeline_run" "migrate" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  triggers = {
    schema = filesha256("${path.module}/schema.sql")
  }
}
