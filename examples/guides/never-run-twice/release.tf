variable "release" {
  type    = string
  default = "1.4.2"
}

resource "ylem_pipeline_run" "migrate" {
  pipeline_uuid       = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  input               = jsonencode({ release = var.release })
  idempotency_key     = "release-${var.release}"
  wait_for_completion = true

  completion = {
    final_task_uuids = ["a4f09d63-5c7e-4b18-8f2d-e6b13c97a058", "6e0c2b91-4f7d-4d3a-8b15-c9a27e84d360"]
  }
}
