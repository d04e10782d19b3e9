# Run a pipeline whenever something else has changed, here the version of a schema.
action "ylem_pipeline_run" "orders" {
  config {
    pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
    input         = jsonencode({ full = true })
  }
}

resource "terraform_data" "schema" {
  input = "version 3"

  lifecycle {
    action_trigger {
      events  = [after_create, after_update]
      actions = [action.ylem_pipeline_run.orders]
    }
  }
}
