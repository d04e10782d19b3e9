# Months in which nothing ran are left out, so each is found by its date.
output "failures_by_month" {
  value = {
    for month in data.ylem_pipeline_aggregated_stats.orders.stats :
    formatdate("YYYY-MM", month.date_from) => month.num_of_failures
  }
}
