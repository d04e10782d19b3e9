variable "first_day" {
  type    = string
  default = "2024-01-01"
}

variable "number_of_days" {
  type    = number
  default = 60
}

resource "ylem_pipeline_run" "orders" {
  for_each = {
    for day in provider::ylem::periods(var.first_day, "day", var.number_of_days) : formatdate("YYYY-MM-DD", day.date_from) => day
  }

  pipeline_uuid       = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  input               = jsonencode({ day = each.key })
  idempotency_key     = "orders-${each.key}"
  wait_for_completion = true

  completion = {
    final_task_uuids = ["a4f09d63-5c7e-4b18-8f2d-e6b13c97a058"]
    poll_interval    = "10s"
  }
}
