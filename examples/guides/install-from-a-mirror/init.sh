export TF_CLI_CONFIG_FILE=$PWD/mirror.tfrc
terraform init
terraform plan
