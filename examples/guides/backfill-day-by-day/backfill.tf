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

  pipeline_uuid       = "f4a7c6d1-0e83-4b29-95f7-d82b3c1e6a50"
  input               = jsonencode({ day = each.key })
  idempotency_key     = "orders-${each.key}"
  wait_for_completion = true

  completion = {
    final_task_uuids = ["e91b7c40-5f2a-4d86-b3c7-08a6d4f2e915"]
    poll_interval    = "10s"
  }
}
