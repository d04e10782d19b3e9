# Wait for the run: until its last task has reported, for an hour at most. What depends on it comes afterwards.
resource "ylem_pipeline_run" "import" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  wait_for_completion = true

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
  }

  timeouts {
    create = "1h"
    update = "1h"
  }
}
