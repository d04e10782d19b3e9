resource "ylem_pipeline_run" "load" {
  pipeline_uuid       = local.pipeline
  wait_for_completion = true

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
  }
}

locals {
  pipeline = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
