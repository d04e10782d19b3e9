# Keep what a query returned.
resource "ylem_pipeline_run" "totals" {
  pipeline_uuid       = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  wait_for_completion = true
  output_task_uuids   = ["449c3c47-427e-465e-b1d2-0bf257b714e4"]

  completion = {
    final_task_uuids = ["d5f2e8a1-0c37-4969-a1b4-3f6e7d8c9a02"]
  }
}

output "totals" {
  value     = jsondecode(ylem_pipeline_run.totals.outputs["449c3c47-427e-465e-b1d2-0bf257b714e4"])
  sensitive = true
}
