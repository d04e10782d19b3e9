variable "shop_token" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "ylem_pipeline_run" "sync" {
  pipeline_uuid    = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
  input_wo         = jsonencode({ token = var.shop_token })
  input_wo_version = 1 # raise it to run again with another token
}
