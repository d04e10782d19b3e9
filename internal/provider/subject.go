package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// subject is what makes a pair of data sources one: statistics are about a pipeline or about a task.
type subject struct {
	noun      string
	attribute string
	api       ylem.Subject
	example   string
	counting  string // how Ylem counts
	successes string // what it counts in a window or period, as formats
	failures  string
	success   string // what it takes for the success of a run, and for its duration, as formats
	duration  string
}

// uuid is the configured subject's UUID.
func (s subject) uuid(config tfsdk.Config) string {
	return textOf(attributesOf(config.Raw)[s.attribute])
}

// addError explains a request about the subject that failed.
func (s subject) addError(diags *diag.Diagnostics, uuid string, err error) {
	addError(diags, path.Root(s.attribute), s.noun+" "+uuid, err)
}

var (
	pipelineSubject = subject{
		noun:      "pipeline",
		attribute: "pipeline_uuid",
		api:       ylem.Pipelines,
		example:   "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c",
		counting: "Ylem counts failed tasks, not failed runs: `num_of_failures` is the number of failed tasks, `num_of_successes` the " +
			"number of runs minus `num_of_failures`. When more tasks failed than there were runs, Ylem's numbers are wrong: zero, or left " +
			"over from another request. To count runs, use `runs` of the data source `ylem_pipeline_logs`.",
		successes: "Number of runs in the %s minus `num_of_failures`. Example: `42`.",
		failures:  "Number of failed tasks in the %s. Example: `1`.",
		success: "Whether the task that reported last in the %s succeeded. With parallel branches, another task of the run may have failed: `runs` of the " +
			"data source `ylem_pipeline_logs` tells.",
		duration: "Sum of the durations of all tasks of the %s, in milliseconds.",
	}
	taskSubject = subject{
		noun:      "task",
		attribute: "task_uuid",
		api:       ylem.Tasks,
		example:   "449c3c47-427e-465e-b1d2-0bf257b714e4",
		counting:  "Each run of the task counts once, as a success or as a failure.",
		successes: "Number of runs of the task that succeeded in the %s. Example: `42`.",
		failures:  "Number of runs of the task that failed in the %s. Example: `1`.",
		success:   "Whether the %s succeeded.",
		duration:  "How long the %s took, in milliseconds.",
	}
)
