go run github.com/ylem-co/terraform-provider-ylem/cmd/ylem-sandbox@latest
