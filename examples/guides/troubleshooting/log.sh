export TF_LOG_PROVIDER=DEBUG TF_LOG_PATH=ylem.log
terraform plan
