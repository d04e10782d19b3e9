# Run several pipelines, each with an input of its own.
resource "ylem_pipeline_run" "nightly" {
  for_each = {
    orders    = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
    customers = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  }

  pipeline_uuid = each.value
  input         = jsonencode({ table = each.key })
}
