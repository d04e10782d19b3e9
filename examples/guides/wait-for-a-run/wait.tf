resource "ylem_pipeline_run" "import" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  input               = jsonencode({ day = "2024-01-31" })
  wait_for_completion = true

  completion = {
    final_task_uuids = [
      "d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02", # writes the orders
      "92e4d7f0-5b1a-4c68-9d3e-0a7f6b8c1d25", # sends a mail
    ]
  }

  timeouts {
    create = "1h"
    update = "1h"
  }
}
