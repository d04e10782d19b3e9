# How long the query takes on average. Quarters in which it never ran are left out, so each is found by its date.
output "query_seconds" {
  value = {
    for quarter in data.ylem_task_aggregated_stats.query.stats : quarter.date_from => quarter.average_duration / 1000
  }
}
