# Was: data "http", its url with two dates in it, and jsondecode(data.http.….response_body).
data "ylem_pipeline_stats" "orders" {
  pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c"
  lookback      = "24h"
}

output "failures" {
  value = data.ylem_pipeline_stats.orders.num_of_failures
}
