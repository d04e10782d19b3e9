variable "shop_token" {
  type      = string
  sensitive = true
  ephemeral = true
}

action "ylem_pipeline_run" "sync" {
  config {
    pipeline_uuid = "2d9c4e7b-81f3-4a06-b5d2-c63e0f9a7814"
    input_wo      = jsonencode({ token = var.shop_token })
  }
}

resource "terraform_data" "shop" {
  input = "1.1"

  lifecycle {
    action_trigger {
      events  = [after_create, after_update]
      actions = [action.ylem_pipeline_run.sync]
    }
  }
}
