data "ylem_task_stats" "query" {
  task_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  lookback  = "168h"

  lifecycle {
    postcondition {
      condition     = self.num_of_successes > 0 && self.average_duration < 60000
      error_message = "In the last seven days the query never succeeded, or took more than a minute: ${self.average_duration / 1000} s on average."
    }
  }
}

# Stands for what is built on these numbers.
resource "terraform_data" "schedule" {
  input = "every hour"

  depends_on = [data.ylem_task_stats.query]
}
