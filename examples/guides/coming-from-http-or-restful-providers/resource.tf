# Was: a POST of restful_operation, or curl in a provisioner, and a loop that polls the log.
resource "ylem_pipeline_run" "orders" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  input               = jsonencode({ day = "2024-01-31" })
  wait_for_completion = true

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
  }
}
