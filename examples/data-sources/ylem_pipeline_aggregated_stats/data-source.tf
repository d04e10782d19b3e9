# The twelve months of 2024.
data "ylem_pipeline_aggregated_stats" "orders" {
  pipeline_uuid     = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  date_from         = "2024-01-01"
  period            = "month"
  number_of_periods = 12
}
