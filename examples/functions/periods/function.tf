data "ylem_pipeline_aggregated_stats" "orders" {
  pipeline_uuid     = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  date_from         = "2024-01-01"
  period            = "month"
  number_of_periods = 12
}

locals {
  failures = {
    for month in data.ylem_pipeline_aggregated_stats.orders.stats : month.date_from => month.num_of_failures
  }
}

# All months of 2024: also those that the statistics leave out, because nothing ran.
output "failures_by_month" {
  value = {
    for month in provider::ylem::periods("2024-01-01", "month", 12) :
    formatdate("YYYY-MM", month.date_from) => lookup(local.failures, month.date_from, 0)
  }
}
