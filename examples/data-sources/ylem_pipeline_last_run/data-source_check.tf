# Warn when the last run failed, is older than a day, or there was none.
check "orders_are_fresh" {
  assert {
    condition = try(
      data.ylem_pipeline_last_run.orders.is_successful &&
      timecmp(data.ylem_pipeline_last_run.orders.executed_at, timeadd(plantimestamp(), "-24h")) > 0,
      false,
    )
    error_message = "The orders are not up to date."
  }
}
