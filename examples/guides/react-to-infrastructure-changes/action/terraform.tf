terraform {
  required_version = ">= 1.14"

  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}
