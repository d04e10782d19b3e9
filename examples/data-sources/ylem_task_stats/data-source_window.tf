# Whether the query has become slower than it was in January.
data "ylem_task_stats" "january" {
  task_uuid = "449c3c47-427e-465e-b1d2-0bf257b714e4"
  from      = "2024-01-01"
  to        = "2024-01-31T23:59:59Z"
}

check "query_is_as_fast_as_ever" {
  assert {
    # Nothing ran in January: its average is 0.
    condition     = data.ylem_task_stats.january.average_duration == 0 || data.ylem_task_stats.query.average_duration <= 2 * data.ylem_task_stats.january.average_duration
    error_message = "The query takes ${data.ylem_task_stats.query.average_duration} ms on average, in January it took ${data.ylem_task_stats.january.average_duration}."
  }
}
