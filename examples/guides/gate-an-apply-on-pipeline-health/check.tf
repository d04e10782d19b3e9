data "ylem_pipeline_last_run" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}

# Nothing ran: is_successful and executed_at are null, and try gives false.
check "orders_are_fresh" {
  assert {
    condition = try(
      data.ylem_pipeline_last_run.orders.is_successful &&
      timecmp(data.ylem_pipeline_last_run.orders.executed_at, timeadd(plantimestamp(), "-26h")) > 0,
      false,
    )
    error_message = "The last import of orders failed, or is older than 26 hours."
  }
}
