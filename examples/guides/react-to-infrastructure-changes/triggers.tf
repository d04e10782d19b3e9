resource "ylem_pipeline_run" "migrate" {
  pipeline_uuid = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  triggers = {
    schema   = filesha256("${path.module}/schema.sql")
    database = terraform_data.database.id
  }
}

# Stands for the database: its replacement has another ID.
resource "terraform_data" "database" {
  triggers_replace = "db.internal"
}
