# Warn when tasks fail too often. A data source inside of the check would have every plan show a change.
check "orders_are_healthy" {
  assert {
    condition     = data.ylem_pipeline_stats.orders.num_of_failures <= 0.1 * data.ylem_pipeline_stats.orders.num_of_successes
    error_message = "In the last seven days, ${data.ylem_pipeline_stats.orders.num_of_failures} tasks failed."
  }
}
