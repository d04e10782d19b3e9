# Asks Ylem one question, and changes nothing.
data "ylem_pipeline_last_run" "any" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
}
