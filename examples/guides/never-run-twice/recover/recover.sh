terraform query
terraform apply
