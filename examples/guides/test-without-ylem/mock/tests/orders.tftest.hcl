mock_provider "ylem" {
  # Terraform makes up a random text for each computed attribute. A UUID or a time that something else reads has to be
  # a valid one.
  mock_resource "ylem_pipeline_run" {
    defaults = {
      id            = "95295cbc-cee7-49cc-a11a-2f1788423934"
      status        = "succeeded"
      is_successful = true
      triggered_at  = "2024-01-31T02:00:00Z"
      finished_at   = "2024-01-31T02:00:42Z"
    }
  }
}

run "the_release_is_the_input" {
  variables {
    release = "2.0.0"
  }
  assert {
    condition     = jsondecode(ylem_pipeline_run.orders.input).release == "2.0.0"
    error_message = "The input is ${ylem_pipeline_run.orders.input}."
  }
  assert {
    condition     = output.summary == "succeeded, 0 tasks" # a mocked list is always empty
    error_message = "The summary is \"${output.summary}\"."
  }
}

run "an_incomplete_log_is_refused" {
  override_data {
    target = data.ylem_pipeline_logs.orders
    values = {
      truncated = true
    }
  }
  expect_failures = [output.summary]
}
