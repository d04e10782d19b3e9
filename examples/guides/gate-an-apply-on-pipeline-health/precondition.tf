data "ylem_pipeline_logs" "customers" {
  pipeline_uuid  = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  lookback       = "24h"
  include_output = false
}

# Stands for what must not change while the data is not right, such as a dashboard.
resource "terraform_data" "dashboard" {
  input = "version 3"

  lifecycle {
    precondition {
      condition     = length(data.ylem_pipeline_logs.customers.runs) > 0 && alltrue(data.ylem_pipeline_logs.customers.runs[*].is_successful)
      error_message = "The import of customers did not run in the last 24 hours, or a run failed."
    }
  }
}
