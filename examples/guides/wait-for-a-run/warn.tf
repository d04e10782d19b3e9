resource "ylem_pipeline_run" "nightly" {
  pipeline_uuid       = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  wait_for_completion = true
  on_failure          = "warn"
  on_timeout          = "warn"

  completion = {
    final_task_uuids = ["1f8b6c3d-9e25-4a70-8c5f-b4d3e2a1f069"]
  }
}

check "nightly_succeeded" {
  assert {
    condition     = ylem_pipeline_run.nightly.status == "succeeded"
    error_message = "The nightly run is ${ylem_pipeline_run.nightly.status}."
  }
}
