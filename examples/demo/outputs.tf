output "orders_run" {
  description = "UUID of the run that imports orders."
  value       = ylem_pipeline_run.orders.id
}

output "report_run" {
  description = "UUID of the run that sends the report."
  value       = ylem_pipeline_run.report.id
}

output "orders_in_january" {
  description = "The import of orders in January 2024."
  value = format("%d runs, failed tasks: %d, %.1f s on average",
    data.ylem_pipeline_stats.orders_january.num_of_successes + data.ylem_pipeline_stats.orders_january.num_of_failures,
    data.ylem_pipeline_stats.orders_january.num_of_failures,
    data.ylem_pipeline_stats.orders_january.average_duration / 1000,
  )
}

output "query_in_january" {
  description = "The query of the shop's database in January 2024."
  value = format("%d succeeded, %d failed, %.1f s on average",
    data.ylem_task_stats.query_january.num_of_successes,
    data.ylem_task_stats.query_january.num_of_failures,
    data.ylem_task_stats.query_january.average_duration / 1000,
  )
}

output "orders_by_month" {
  description = "The import of orders, month by month."
  value = {
    for month in data.ylem_pipeline_aggregated_stats.orders.stats :
    formatdate("YYYY-MM", month.date_from) => "${month.num_of_successes + month.num_of_failures} runs, failed tasks: ${month.num_of_failures}"
  }
}

output "query_by_month" {
  description = "How long the query takes on average, month by month."
  value = {
    for month in data.ylem_task_aggregated_stats.query.stats :
    formatdate("YYYY-MM", month.date_from) => format("%.1f s", month.average_duration / 1000)
  }
}

output "orders_failures" {
  description = "What failed from January to March 2024, newest first."
  value = [
    for log in data.ylem_pipeline_logs.orders_failures.logs :
    "${log.executed_at} ${log.task_type}: ${join(", ", log.errors[*].message)}"
  ]
}

output "report_succeeded" {
  description = "Whether the last run that sent the report succeeded; null if there was none."
  value       = data.ylem_pipeline_last_run.report.is_successful
}

output "query_succeeded" {
  description = "Whether the last query of the shop's database succeeded; null if there was none."
  value       = data.ylem_task_last_run.query.is_successful
}
