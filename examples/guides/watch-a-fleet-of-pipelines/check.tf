locals {
  unhealthy = [
    for name, stats in data.ylem_pipeline_stats.fleet : name
    if stats.num_of_failures > 0 || stats.num_of_successes == 0
  ]
}

check "fleet_is_healthy" {
  assert {
    condition     = length(local.unhealthy) == 0
    error_message = "Needs attention: ${join(", ", local.unhealthy)}."
  }
}
