resource "ylem_pipeline_run" "invoices" {
  pipeline_uuid       = "7c1f3b60-9a25-4e8d-b7f4-50d2e6a8c913"
  wait_for_completion = true

  completion = {
    final_task_uuids = ["c85e1d27-6b94-4f30-a1d8-3e7b09f2c646"] # reports once for each invoice
    quiet_period     = "2m"                                     # longer than any task of the server
  }
}
