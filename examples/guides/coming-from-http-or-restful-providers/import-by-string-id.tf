import {
  to = ylem_pipeline_run.orders
  id = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c/95295cbc-cee7-49cc-a11a-2f1788423934"
}
