resource "ylem_pipeline_run" "load" {
  pipeline_uuid       = local.pipeline
  wait_for_completion = true

  completion = {
    final_task_uuids = ["449c3c47-427e-465e-b1d2-0bf257b714e4"]
  }
}

locals {
  pipeline = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
