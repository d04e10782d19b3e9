terraform apply -parallelism=4
