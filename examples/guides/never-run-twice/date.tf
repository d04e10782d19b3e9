variable "day" {
  description = "The day to load, set by the scheduler. Not timestamp(), which differs in every plan."
  type        = string
  default     = "2024-01-31"
}

resource "ylem_pipeline_run" "load" {
  pipeline_uuid   = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  input           = jsonencode({ day = var.day })
  idempotency_key = var.day
}
