package provider

import (
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// subject is what statistics are about, a pipeline or a task: the difference between the two data sources of a pair.
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

// pipelineModel and taskModel are the parts of models in which the two data sources of a pair differ.
type pipelineModel struct {
	PipelineUUID types.String `tfsdk:"pipeline_uuid"`
}

type taskModel struct {
	TaskUUID types.String `tfsdk:"task_uuid"`
}

func (m *pipelineModel) uuid() string { return m.PipelineUUID.ValueString() }
func (m *taskModel) uuid() string     { return m.TaskUUID.ValueString() }

// uuidAttribute is the subject's UUID, the one argument that all data sources have.
func (s subject) uuidAttribute() schema.StringAttribute {
	return schema.StringAttribute{
		Required:            true,
		MarkdownDescription: fmt.Sprintf("UUID of the %[1]s, such as `%s`. Ylem shows it on the %[1]s's page. Case-insensitive.", s.noun, s.example),
		Validators:          []validator.String{uuidValidator{}},
	}
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
			"over from another request. The provider warns where the numbers cannot be true. To count runs, use `runs` of the data source " +
			"`ylem_pipeline_logs`.",
		successes: "Number of runs in the %s minus `num_of_failures`. Example: `42`.",
		failures:  "Number of failed tasks in the %s. Example: `1`.",
		success: "Whether the task that reported last in %s succeeded. With parallel branches, another task of that run may have failed: see `runs` of the " +
			"data source `ylem_pipeline_logs`.",
		duration: "Sum of the durations of all tasks of %s, in milliseconds.",
	}
	taskSubject = subject{
		noun:      "task",
		attribute: "task_uuid",
		api:       ylem.Tasks,
		example:   "449c3c47-427e-465e-b1d2-0bf257b714e4",
		counting:  "Each run of the task counts once, as a success or as a failure.",
		successes: "Number of runs of the task that succeeded in the %s. Example: `42`.",
		failures:  "Number of runs of the task that failed in the %s. Example: `1`.",
		success:   "Whether %s succeeded.",
		duration:  "Duration of %s, in milliseconds.",
	}
)
