data "ylem_pipeline_aggregated_stats" "fleet" {
  for_each = var.pipelines

  pipeline_uuid     = each.value
  date_from         = "2024-01-01"
  period            = "month"
  number_of_periods = 12
}

output "failed_tasks_by_month" {
  value = {
    for name, by_month in data.ylem_pipeline_aggregated_stats.fleet : name => {
      for month in by_month.stats : formatdate("YYYY-MM", month.date_from) => month.num_of_failures
    }
  }
}
