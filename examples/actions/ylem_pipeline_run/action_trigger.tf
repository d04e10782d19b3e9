# Run a pipeline whenever something else has changed, wait for the run, and go on when it fails.
action "ylem_pipeline_run" "migrate" {
  config {
    pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
    input               = jsonencode({ full = true })
    wait_for_completion = true
    on_failure          = "warn"
    timeout             = "1h"

    completion = {
      final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
    }
  }
}

resource "terraform_data" "schema" {
  input = "version 3"

  lifecycle {
    action_trigger {
      events  = [after_create, after_update]
      actions = [action.ylem_pipeline_run.migrate]
    }
  }
}
