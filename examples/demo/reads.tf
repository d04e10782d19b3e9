# All data sources of the provider. What the outputs show has its window in the past, so that new runs do not change it.

data "ylem_pipeline_stats" "orders_january" {
  pipeline_uuid = local.orders
  from          = "2024-01-01"
  to            = "2024-01-31T23:59:59Z"
}

data "ylem_task_stats" "query_january" {
  task_uuid = local.orders_query
  from      = "2024-01-01"
  to        = "2024-01-31T23:59:59Z"
}

data "ylem_pipeline_aggregated_stats" "orders" {
  pipeline_uuid     = local.orders
  date_from         = "2024-01-01"
  period            = "month"
  number_of_periods = 3
}

data "ylem_task_aggregated_stats" "query" {
  task_uuid         = local.orders_query
  date_from         = "2024-01-01"
  period            = "month"
  number_of_periods = 3
}

data "ylem_pipeline_logs" "orders_failures" {
  pipeline_uuid = local.orders
  from          = "2024-01-01"
  to            = "2024-03-31T23:59:59Z"
  is_successful = false
}

data "ylem_pipeline_last_run" "report" {
  pipeline_uuid = local.report
}

data "ylem_task_last_run" "query" {
  task_uuid = local.orders_query
}

data "ylem_pipeline_stats" "orders_week" {
  pipeline_uuid = local.orders
  lookback      = "168h"
}

# A check warns, and lets the apply continue. A data source inside it would have every plan show a change: Terraform
# reads those again in the apply.
check "orders_are_healthy" {
  assert {
    condition = (
      data.ylem_pipeline_stats.orders_week.num_of_successes > 0 &&
      data.ylem_pipeline_stats.orders_week.num_of_failures <= 0.1 * data.ylem_pipeline_stats.orders_week.num_of_successes
    )
    error_message = "In the last seven days no import of orders succeeded, or more than one task failed for every ten that did."
  }
}
