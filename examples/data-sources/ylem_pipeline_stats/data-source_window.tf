# A window with fixed ends, whose numbers do not change from plan to plan.
data "ylem_pipeline_stats" "january" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  from          = "2024-01-01"
  to            = "2024-01-31T23:59:59Z"
}

output "january" {
  value = {
    runs    = data.ylem_pipeline_stats.january.num_of_successes + data.ylem_pipeline_stats.january.num_of_failures
    seconds = data.ylem_pipeline_stats.january.average_duration / 1000
  }
}
