terraform apply -invoke=action.ylem_pipeline_run.import
