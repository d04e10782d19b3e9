package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var (
	_ datasource.DataSourceWithConfigure        = (*statsDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*statsDataSource)(nil)
)

func newStatsDataSource(s subject) func() datasource.DataSource {
	return func() datasource.DataSource { return &statsDataSource{subject: s} }
}

type statsDataSource struct {
	reader
	subject subject
}

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
	attributes["is_last_run_successful"] = computedBool(fmt.Sprintf(d.subject.success, "last run before the end of the window") +
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
	uuid := d.subject.uuid(req.Config)
	if !d.api.ready(&resp.Diagnostics) {
		return
	}
	w := readWindow(ctx, req.Config, d.api.client, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	stats, err := d.api.client.Stats(ctx, d.subject.api, uuid, w.from, w.to)
	if err != nil {
		d.subject.addError(&resp.Diagnostics, uuid, err)
		return
	}
	ran := !stats.LastRunExecutedAt.IsZero()
	setState(ctx, req.Config, &resp.State, map[string]attr.Value{
		"from":                   w.fromText,
		"to":                     w.toText,
		"num_of_successes":       types.Int64Value(stats.NumOfSuccesses),
		"num_of_failures":        types.Int64Value(stats.NumOfFailures),
		"average_duration":       types.Int64Value(stats.AverageDuration),
		"is_last_run_successful": orNull(ran, types.BoolValue(stats.IsLastRunSuccessful), types.BoolNull()),
		"last_run_executed_at":   timeValue(stats.LastRunExecutedAt),
		"last_run_duration":      orNull(ran, types.Int64Value(stats.LastRunDuration), types.Int64Null()),
	})
}
