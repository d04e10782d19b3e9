# Keep what a query returned.
resource "ylem_pipeline_run" "totals" {
  pipeline_uuid       = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  wait_for_completion = true
  output_task_uuids   = ["449c3c47-427e-465e-b1d2-0bf257b714e4"]

  completion = {
    final_task_uuids = ["449c3c47-427e-465e-b1d2-0bf257b714e4"]
  }
}

output "totals" {
  value     = jsondecode(ylem_pipeline_run.totals.outputs["449c3c47-427e-465e-b1d2-0bf257b714e4"])
  sensitive = true
}
