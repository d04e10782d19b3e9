# The four quarters of 2024.
data "ylem_task_aggregated_stats" "query" {
  task_uuid         = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  date_from         = "2024-01-01"
  period            = "quarter"
  number_of_periods = 4
}
