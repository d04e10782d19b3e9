data "ylem_task_stats" "query" {
  task_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  lookback  = "168h"

  lifecycle {
    postcondition {
      condition     = self.average_duration < 60000
      error_message = "The query takes ${self.average_duration / 1000} s on average, more than a minute."
    }
  }
}

# Stands for what is built on these numbers.
resource "terraform_data" "schedule" {
  input = "every hour"

  depends_on = [data.ylem_task_stats.query]
}
