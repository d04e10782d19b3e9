terraform init
terraform apply
