# Give the run a secret, which Terraform keeps neither in a plan nor in its state.
variable "shop_token" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "ylem_pipeline_run" "sync" {
  pipeline_uuid    = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  input_wo         = jsonencode({ token = var.shop_token })
  input_wo_version = 1 # raise it to run again with another secret
}
