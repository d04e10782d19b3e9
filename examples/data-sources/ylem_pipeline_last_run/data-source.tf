data "ylem_pipeline_last_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}

output "orders_succeeded" {
  value = data.ylem_pipeline_last_run.orders.is_successful # null when the pipeline never ran
}
