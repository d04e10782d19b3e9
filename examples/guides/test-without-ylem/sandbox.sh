go install github.com/ylem-co/terraform-provider-ylem/cmd/ylem-sandbox@latest
ylem-sandbox -quiet -speed 3600 -scenario scenario.json terraform test
