variable "pipelines" {
  description = "UUIDs of the pipelines to watch, by name."
  type        = map(string)
  default = {
    orders    = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
    customers = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
    report    = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
  }
}

data "ylem_pipeline_stats" "fleet" {
  for_each = var.pipelines

  pipeline_uuid = each.value
  lookback      = "24h"
}

output "fleet" {
  value = {
    for name, stats in data.ylem_pipeline_stats.fleet : name => (
      stats.last_run_executed_at == null ? "never ran" :
      stats.num_of_failures > 0 ? "failed tasks: ${stats.num_of_failures}" :
      stats.num_of_successes == 0 ? "no run in 24 hours" :
      format("runs: %d, each %.1f s on average", stats.num_of_successes, stats.average_duration / 1000)
    )
  }
}
