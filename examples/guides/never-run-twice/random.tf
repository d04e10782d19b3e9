# Another schema makes another ID, which is random. With the random provider: random_uuid, and its keepers.
resource "terraform_data" "key" {
  triggers_replace = "schema, version 3"
}

resource "ylem_pipeline_run" "report" {
  pipeline_uuid   = "e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03"
  idempotency_key = terraform_data.key.id
}
