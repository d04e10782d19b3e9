variables {
  poll_interval = "100ms"
}

run "an_hour_passes_in_a_second" {
  assert {
    condition     = ylem_pipeline_run.this.duration == 60 * 60 * 1000
    error_message = "The run took ${ylem_pipeline_run.this.duration} ms."
  }
}

run "a_failed_run_is_refused" {
  variables {
    pipeline_uuid   = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
    final_task_uuid = "92e4d7f0-5b1a-4c68-9d3e-0a7f6b8c1d25"
  }
  expect_failures = [ylem_pipeline_run.this]
  assert {
    condition     = ylem_pipeline_run.this.task_runs[0].errors[0].message == "the mailbox is full"
    error_message = "The run did not fail as the scenario says."
  }
}

run "a_run_that_times_out_is_refused" {
  variables {
    pipeline_uuid   = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
    final_task_uuid = "a4f09d63-5c7e-4b18-8f2d-e6b13c97a058"
    timeout         = "2s"
  }
  expect_failures = [ylem_pipeline_run.this]
  assert {
    condition     = ylem_pipeline_run.this.status == "pending"
    error_message = "The run is ${ylem_pipeline_run.this.status}."
  }
}
