terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}
