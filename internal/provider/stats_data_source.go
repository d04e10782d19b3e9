package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

var (
	_ datasource.DataSourceWithConfigure        = (*statsDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*statsDataSource)(nil)
)

func newPipelineStatsDataSource() datasource.DataSource {
	return &statsDataSource{subject: pipelineSubject, newModel: func() statsModel { return &pipelineStatsModel{} }}
}

func newTaskStatsDataSource() datasource.DataSource {
	return &statsDataSource{subject: taskSubject, newModel: func() statsModel { return &taskStatsModel{} }}
}

type statsDataSource struct {
	dataSourceBase
	subject  subject
	newModel func() statsModel
}

type statsModel interface {
	uuid() string
	attributes() *statsAttributes
}

type pipelineStatsModel struct {
	pipelineModel
	statsAttributes
}

type taskStatsModel struct {
	taskModel
	statsAttributes
}

type statsAttributes struct {
	windowModel
	NumOfSuccesses      types.Int64  `tfsdk:"num_of_successes"`
	NumOfFailures       types.Int64  `tfsdk:"num_of_failures"`
	AverageDuration     types.Int64  `tfsdk:"average_duration"`
	IsLastRunSuccessful types.Bool   `tfsdk:"is_last_run_successful"`
	LastRunExecutedAt   types.String `tfsdk:"last_run_executed_at"`
	LastRunDuration     types.Int64  `tfsdk:"last_run_duration"`
}

func (a *statsAttributes) attributes() *statsAttributes { return a }

func (d *statsDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = fmt.Sprintf("%s_%s_stats", req.ProviderTypeName, d.subject.noun)
}

func (d *statsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := windowAttributes()
	attributes[d.subject.attribute] = d.subject.uuidAttribute()
	attributes["num_of_successes"] = computedInt(fmt.Sprintf(d.subject.successes, "window"))
	attributes["num_of_failures"] = computedInt(fmt.Sprintf(d.subject.failures, "window"))
	attributes["average_duration"] = computedInt(fmt.Sprintf("Mean duration of the %s's runs in the window, in milliseconds; `0` when nothing ran. "+
		"Example: `573`.", d.subject.noun))
	attributes["is_last_run_successful"] = computedBool(fmt.Sprintf(d.subject.success, "the last run before the end of the window") +
		" That run may lie before the start of the window. Null: nothing ran before. Example: `true`.")
	attributes["last_run_executed_at"] = computedString("When that last run was executed, RFC 3339, UTC. Null: nothing ran before. Example: `2024-01-31T14:23:01Z`.")
	attributes["last_run_duration"] = computedInt(fmt.Sprintf(d.subject.duration, "that last run") + " Null: nothing ran before. Example: `1250`.")
	resp.Schema = schema.Schema{
		MarkdownDescription: fmt.Sprintf("Reads the statistics of a %s's runs in a window of time. Needs the scope `stats:read`.\n\n%s "+
			"A %[1]s that does not exist looks the same as one that never ran.", d.subject.noun, d.subject.counting),
		Attributes: attributes,
	}
}

func (d *statsDataSource) ConfigValidators(context.Context) []datasource.ConfigValidator {
	return windowValidators()
}

func (d *statsDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	m := d.newModel()
	resp.Diagnostics.Append(req.Config.Get(ctx, m)...)
	if resp.Diagnostics.HasError() || !d.api.ready(&resp.Diagnostics) {
		return
	}
	a := m.attributes()
	w := a.read(ctx, d.api.client, 0, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	stats, err := d.api.client.Stats(ctx, d.subject.api, m.uuid(), w.from, w.to)
	if err != nil {
		d.subject.addError(&resp.Diagnostics, m.uuid(), err)
		return
	}
	if d.subject.api == ylem.Pipelines && impossible(stats, w) {
		resp.Diagnostics.AddAttributeWarning(path.Root(d.subject.attribute), "Ylem's statistics are wrong", fmt.Sprintf(
			"From %s to %s, Ylem counts %d successes and %d failures of pipeline %s, which cannot be true: %s.\n\n%s",
			formatTime(w.from), formatTime(w.to), stats.NumOfSuccesses, stats.NumOfFailures, m.uuid(), lastRunInWords(stats), wrongCounts))
	}

	ran := !stats.LastRunExecutedAt.IsZero()
	a.NumOfSuccesses = types.Int64Value(stats.NumOfSuccesses)
	a.NumOfFailures = types.Int64Value(stats.NumOfFailures)
	a.AverageDuration = types.Int64Value(stats.AverageDuration)
	a.IsLastRunSuccessful = orNull(ran, types.BoolValue(stats.IsLastRunSuccessful), types.BoolNull())
	a.LastRunExecutedAt = timeValue(stats.LastRunExecutedAt)
	a.LastRunDuration = orNull(ran, types.Int64Value(stats.LastRunDuration), types.Int64Null())
	resp.Diagnostics.Append(resp.State.Set(ctx, m)...)
}

// wrongCounts explains counts that cannot be true.
const wrongCounts = "Ylem counts successes as the number of runs minus that of failed tasks. When more tasks failed than there were runs, it shows zeros, or " +
	"numbers left over from another request. To count runs, use \"runs\" of the data source ylem_pipeline_logs."

// impossible reports whether a pipeline's counts contradict its last run before the end of the window. What the last run
// says is right even where the counts are not.
func impossible(stats ylem.Stats, w window) bool {
	last := stats.LastRunExecutedAt
	switch {
	case stats.NumOfSuccesses < 0 || stats.NumOfFailures < 0:
		return true
	case last.Before(w.from): // also when nothing ever ran
		return stats.NumOfSuccesses+stats.NumOfFailures > 0
	case w.from.Year() == 0 || !last.Before(w.to):
		return false // Ylem finds nothing from the year 0 on, and drops the fraction of a time at the very end
	case !stats.IsLastRunSuccessful:
		return stats.NumOfFailures == 0
	default:
		return stats.NumOfSuccesses+stats.NumOfFailures == 0
	}
}

func lastRunInWords(stats ylem.Stats) string {
	switch {
	case stats.LastRunExecutedAt.IsZero():
		return "until then, it never ran"
	case stats.IsLastRunSuccessful:
		return "its last run until then was executed at " + formatTime(stats.LastRunExecutedAt)
	default:
		return "its last run until then was executed at " + formatTime(stats.LastRunExecutedAt) + ", and a task of it failed"
	}
}
