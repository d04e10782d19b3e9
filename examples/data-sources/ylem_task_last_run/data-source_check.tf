# Warn when the last query failed or took more than a minute. Of a query that never ran, both values are null.
check "query_is_fast" {
  assert {
    condition     = try(data.ylem_task_last_run.query.is_successful && data.ylem_task_last_run.query.duration < 60000, false)
    error_message = "The last query failed, or took more than a minute."
  }
}
