data "ylem_pipeline_run" "nightly" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  id            = "95295cbc-cee7-49cc-a11a-2f1788423934"
}

output "nightly" {
  value = data.ylem_pipeline_run.nightly.status
}
