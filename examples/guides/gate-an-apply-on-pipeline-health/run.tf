resource "ylem_pipeline_run" "migration" {
  pipeline_uuid       = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
  wait_for_completion = true

  completion = {
    final_task_uuids = ["92e4d7f0-5b1a-4c68-9d3e-0a7f6b8c1d25"]
  }
}

# Stands for what needs the migration. It is not touched when the run fails.
resource "terraform_data" "release" {
  input = ylem_pipeline_run.migration.finished_at
}
