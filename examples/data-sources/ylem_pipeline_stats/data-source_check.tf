# Warn when nothing succeeded or tasks fail too often. A data source inside the check would have every plan show a change.
check "orders_are_healthy" {
  assert {
    condition = (
      data.ylem_pipeline_stats.orders.num_of_successes > 0 &&
      data.ylem_pipeline_stats.orders.num_of_failures <= 0.1 * data.ylem_pipeline_stats.orders.num_of_successes
    )
    error_message = "In the last seven days nothing succeeded, or more than one task failed for every ten runs that succeeded."
  }
}
